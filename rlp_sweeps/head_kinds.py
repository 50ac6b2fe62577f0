"""Kinds of RLP head, and the arms that each allows; a part of ``config``."""

from collections.abc import Mapping
from typing import Any

from rlp_sweeps.arms import ARMS, get_arm
from rlp_sweeps.errors import ConfigError

SINGLE_OUTPUT = "single_output"
"""The nested joint head as the network's only output, which is the class head as well."""

HEADS = ("nested_joint", "nested_per_class", "single", SINGLE_OUTPUT)
"""Kinds of RLP head: one softmax over all classes and labels, one a class, no classes, or the first
in place of a class head."""

ARMS_WITHOUT_SPLIT = {
    "nested_joint": (),
    "nested_per_class": ("class_mean", "mean_rest"),
    "single": ("class_term", "uniform_term", "sham_norm", "class_mean", "mean_rest"),
    SINGLE_OUTPUT: tuple(name for name in ARMS if name != "control"),
}
"""Arms that need a split of the regularizer, or a regularizer, which this kind of head has not."""


def check_head(values: Mapping[str, Any]) -> None:
    """Refuse an arm or a setting that the kind of head does not have.

    Args:
        values: A trial's settings by name, each checked by itself.

    Raises:
        ConfigError: They do not go together.
    """
    head, arm = values["head"], values["arm"]
    if head == SINGLE_OUTPUT:
        _check_single_output(values)
        return
    lacking = ARMS_WITHOUT_SPLIT[head]
    if arm in lacking or get_arm(arm).matched_to in lacking:
        others = [name for name in ARMS if name not in lacking]
        msg = (
            f"the regularizer of head {head!r} has no split that arm {arm!r} needs; its arms are "
            f"{[name for name in others if ARMS[name].matched_to not in lacking]}."
        )
        raise ConfigError(msg)


def _check_single_output(values: Mapping[str, Any]) -> None:
    if values["arm"] != "control":
        msg = (
            f"head {SINGLE_OUTPUT!r} is the class head as well and has no λ, so that its one arm "
            f"is 'control', but got arm={values['arm']!r}, rlp_lambda={values['rlp_lambda']!r}."
        )
        raise ConfigError(msg)
    only: dict[str, Any] = {"label_smoothing": 0.0, "extractor_scale": 1.0}
    only |= {"attach_points": None, "copy_depth": 1, "loss": "cross_entropy"}
    only |= {"projector_width": 0}
    wrong = {name: values[name] for name, value in only.items() if values[name] != value}
    if wrong:
        msg = (
            f"head {SINGLE_OUTPUT!r} has no class loss to smooth or scale, no class head to put a "
            f"projector into, and reads the last layer, so that {only} must hold, but got {wrong}."
        )
        raise ConfigError(msg)
