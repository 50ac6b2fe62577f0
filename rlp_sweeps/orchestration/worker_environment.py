"""Workers of a cluster of the sweep's own, taken as Ray has started them.

Ray starts one process a core with the cluster. Tune asks for workers with environment variables of
their own, which Ray starts anew, and in two steps that import Ray once each. Within
`inherited_environment` Tune takes those that are there; they have the same variables from the
driver.
"""

import contextlib
from collections.abc import Iterator

TUNE_ENVIRONMENT = {"PL_DISABLE_FORK": "1"}
"""What Tune sets for every worker; here the cluster's processes inherit it."""

_LISTS_OF_VARIABLES = ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE")


@contextlib.contextmanager
def inherited_environment() -> Iterator[None]:
    """Let the workers that Tune asks for within the block be ones that Ray has started already.

    Where another version of Tune keeps its variables elsewhere, its workers are started anew.
    """
    from ray.tune.execution import class_cache

    before = {name: getattr(class_cache, name, None) for name in _LISTS_OF_VARIABLES}
    lists = {name: value for name, value in before.items() if isinstance(value, dict | set)}
    for name, value in lists.items():
        setattr(class_cache, name, type(value)())
    try:
        yield
    finally:
        for name, value in lists.items():
            setattr(class_cache, name, value)


@contextlib.contextmanager
def without_credentials() -> Iterator[None]:
    """Keep Tune from sending the driver's AWS credentials to a cluster within the block.

    Ray shows the variables of a worker in its logs and its dashboard; each machine has its own.
    """
    from ray.tune.execution import class_cache

    before = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {n for n in before if not n.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = before
