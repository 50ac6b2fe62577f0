import pytest
from ray.tune.execution import class_cache

from rlp_sweeps.orchestration.worker_environment import (
    TUNE_ENVIRONMENT,
    inherited_environment,
    without_credentials,
)


def test_tune_sets_no_variable_but_those_that_workers_inherit():
    assert class_cache.DEFAULT_ENV_VARS == TUNE_ENVIRONMENT


def variables() -> tuple[object, object]:
    return class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE


def break_off(seen: list[object]) -> None:
    with inherited_environment():
        seen.append(variables())
        raise KeyboardInterrupt


def test_workers_have_no_environment_of_their_own_within_the_block_alone():
    before, inside = variables(), []

    with pytest.raises(KeyboardInterrupt):
        break_off(inside)

    assert inside == [({}, set())]
    assert variables() == before


def test_no_credentials_are_sent_to_a_cluster_that_runs_already():
    before = class_cache.ENV_VARS_TO_PROPAGATE

    with without_credentials():
        inside = class_cache.ENV_VARS_TO_PROPAGATE

    assert "AWS_SECRET_ACCESS_KEY" in before
    assert not [name for name in inside if "AWS" in name]
    assert before == class_cache.ENV_VARS_TO_PROPAGATE
