"""A Ray cluster of the sweep's own that only this machine can reach.

Whoever reaches a Ray cluster can run code on it. Ray listens on every interface on Linux, whatever
address it is given; on other systems, where it supports no clusters of several machines, it listens
on loopback alone. Within `on_loopback` it does so here.
"""

import contextlib
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"

_SWITCH = "ENABLE_RAY_CLUSTER"


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Have a cluster that is started within the block listen on loopback alone.

    Another version of Ray may have its switch elsewhere; a test sees which ports are open.
    """
    from ray._private import ray_constants

    before = getattr(ray_constants, _SWITCH, None)
    setattr(ray_constants, _SWITCH, False)
    try:
        yield
    finally:
        if before is None:
            delattr(ray_constants, _SWITCH)
        else:
            setattr(ray_constants, _SWITCH, before)
