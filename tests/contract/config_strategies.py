"""Trial configurations and search spaces as hypothesis draws them."""

import math
from typing import Any

from hypothesis import strategies as st

from rlp_sweeps.arms import ARMS, get_arm
from rlp_sweeps.config import FIELD_TYPES, TrialConfig, matched_setting, setting_kinds
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.spaces import Axis, ChoiceAxis, LinearAxis, LogAxis, SearchSpace

positive = st.floats(min_value=1e-9, max_value=1e9)
shares = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
numbers = {
    int: st.integers(min_value=-2, max_value=2**70) | st.integers(min_value=0, max_value=12),
    float: st.floats() | positive | shares | st.sampled_from([0, 1, -0.0]) | st.integers(),
    bool: st.booleans(),
    str: st.text(max_size=6) | st.sampled_from(["none", "digits", "mlp", "crop", "all", "a,b"]),
    type(None): st.none(),
}
WORDS = {
    "head": ("nested_joint", "nested_per_class", "single", "single_output"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "constant", "step"),
    "precision": ("fp32", "bf16"),
    "loss": ("cross_entropy", "mse"),
    "view_labels": ("same", "random"),
}


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Return values of a setting's own types, good ones and others."""
    if name in WORDS:
        return st.sampled_from(WORDS[name])
    return st.one_of(*(numbers[kind] for kind in setting_kinds(name)))


@st.composite
def valid_configs(draw: st.DrawFn) -> TrialConfig:
    """Return a configuration: a plain one, of which whatever still holds was changed."""
    arm = draw(st.sampled_from(list(ARMS)))
    values: dict[str, Any] = {"arm": arm, "lr": draw(positive), "seed": draw(st.integers(0, 9))}
    values["rlp_lambda"] = draw(positive) if get_arm(arm).has_lambda else 0.0
    match matched_setting(arm):
        case "matched_multiplier":
            values["matched_multiplier"] = draw(positive)
        case "matched_trajectory":
            values |= {"num_epochs": 2, "matched_trajectory": f"1.0 {draw(positive)!r}"}
    config = TrialConfig.from_dict(values)
    names = [name for name in FIELD_TYPES if name not in {"arm", "rlp_lambda"}]
    for name in draw(st.lists(st.sampled_from(names), max_size=8, unique=True)):
        config = changed(config, name, draw(values_of(name))) or config
    return config


def changed(config: TrialConfig, name: str, value: Any) -> TrialConfig | None:
    """Return the configuration with another value, where it may have that."""
    try:
        return TrialConfig.from_dict({**config.to_dict(), name: value})
    except ConfigError:
        return None


def axes(low: float, high: float) -> st.SearchStrategy[Axis]:
    """Return axes of every kind between two positive bounds."""
    ends = st.tuples(st.floats(low, high), st.floats(low, high)).map(sorted)
    points = st.integers(1, 4)
    kinds = {"log": LogAxis, "linear": LinearAxis}
    ranges = st.builds(
        lambda kind, ends, n: kinds[kind](low=ends[0], high=ends[1], num_points=n),
        st.sampled_from(list(kinds)), ends, points,
    )  # fmt: skip
    listed = st.lists(st.floats(low, high), min_size=1, max_size=3, unique=True)
    return ranges | listed.map(lambda values: ChoiceAxis(choices=values))


def with_control(axis: Axis, control: float) -> Axis:
    """Return the axis with a control value."""
    names = ("low", "high", "num_points", "choices")
    values = {name: getattr(axis, name) for name in names if hasattr(axis, name)}
    return type(axis)(**values, control=control)


@st.composite
def spaces(draw: st.DrawFn, *, min_axes: int = 1) -> SearchSpace:
    """Return a grid over λ and further settings, with or without control values."""
    bounds = {"lr": (1e-4, 10.0), "weight_decay": (1e-6, 1.0), "label_smoothing": (1e-3, 0.9)}
    names = draw(st.lists(st.sampled_from(list(bounds)), min_size=min_axes, unique=True))
    chosen = {name: draw(axes(*bounds[name])) for name in names}
    if "weight_decay" in chosen and draw(st.booleans()):
        chosen["weight_decay"] = with_control(chosen["weight_decay"], 0.0)
    chosen["rlp_lambda"] = with_control(draw(axes(1e-3, 1e3)), 0.0)
    if draw(st.booleans()):
        chosen["batch_size"] = ChoiceAxis(choices=draw(st.sampled_from([(32,), (32, 64)])))
    order = draw(st.permutations(list(chosen)))
    others = ["full", "class_term", "uniform_term", "sham", "orthogonal"]
    arms = draw(st.lists(st.sampled_from(others), max_size=3, unique=True))
    return SearchSpace(
        axes={name: chosen[name] for name in order},
        arms=("control", *arms),
        fixed={} if "lr" in chosen else {"lr": 0.1},
        num_seeds=draw(st.integers(1, 3)),
        first_seed=draw(st.integers(0, 5)),
    )


def is_same(left: Any, right: Any) -> bool:
    """Tell whether two values are the same number, text or nothing, of one type."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return type(left) is type(right) and left == right
