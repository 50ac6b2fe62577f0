import pytest

from rlp_sweeps.arms import ARMS, MAIN_ARMS, get_arm
from rlp_sweeps.errors import ConfigError


def test_the_main_arms_are_two_weights_and_a_flag() -> None:
    table = {
        name: (
            ARMS[name].weight_class_term,
            ARMS[name].weight_uniform_term,
            ARMS[name].redraws_random_labels,
        )
        for name in MAIN_ARMS
    }

    assert table == {
        "control": (0.0, 0.0, False),
        "full": (1.0, 1.0, False),
        "class_term": (1.0, 0.0, False),
        "uniform_term": (0.0, 1.0, False),
        "sham": (1.0, 1.0, True),
    }


@pytest.mark.parametrize("kind", ["rescaled", "replayed"])
def test_matched_arms_have_a_lambda_and_no_regularizer(kind: str) -> None:
    rescaled = [arm for name, arm in ARMS.items() if name.startswith(kind)]

    assert all(arm.replays == (kind == "replayed") for arm in rescaled)
    assert [arm.matched_to for arm in rescaled] == ["full", "class_term", "uniform_term"]
    assert all(arm.has_lambda and not arm.is_regularized for arm in rescaled)
    assert not ARMS["control"].has_lambda


def test_get_arm_returns_the_arm_of_that_name() -> None:
    assert get_arm("sham") is ARMS["sham"]


def test_get_arm_refuses_an_unknown_name_and_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown arm 'Full'; did you mean 'full'\?"):
        get_arm("Full")
