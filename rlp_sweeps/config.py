"""One trial's configuration: a checked, frozen value that refuses what it does not know.

Scalars (arm, lr, λ, ε, weight decay, momentum, extractor scale, seed) tell the trials of one
group apart; everything else is shared by a group (docs/design.md). Where a trial runs (device, data
folder, group) is no part of its configuration, because it must not change a number.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self, get_args, get_type_hints

from rlp_sweeps.arms import ARMS, get_arm
from rlp_sweeps.attach_points import (
    PLACE_DEFAULTS,
    PLACE_RULES,
    check_attach_points,
    check_copies,
)
from rlp_sweeps.class_head import CLASS_HEAD_DEFAULTS, CLASS_HEAD_RULES, check_class_head
from rlp_sweeps.data_settings import DATA_DEFAULTS, DATA_RULES, check_data_settings
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.head_kinds import HEADS, check_head
from rlp_sweeps.setting_names import kind_words, setting_advice

SCALARS = (
    "arm",
    "lr",
    "rlp_lambda",
    "label_smoothing",
    "weight_decay",
    "momentum",
    "extractor_scale",
    "matched_multiplier",
    "matched_trajectory",
    "seed",
)
"""Settings that may differ between the trials of one group."""

_ADDED_SETTINGS: dict[str, Any] = {
    "matched_multiplier": None,
    "matched_trajectory": None,
    **DATA_DEFAULTS,
    **PLACE_DEFAULTS,
    **CLASS_HEAD_DEFAULTS,
}
"""Settings that came after the first trials were named, with their defaults: left out of ids and
group keys at these values, so that older trials keep their names and groups."""

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "constant", "step")
PRECISIONS = ("fp32", "bf16")

Scalar = str | float | int | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialConfig:
    """What one trial trains; units and meanings of every field stand in ``schema.CONFIG_COLUMNS``.

    `arm`, `lr`, `rlp_lambda` and `seed` have no defaults, because their values are what a sweep is
    about.

    Raises:
        ConfigError: A value is of the wrong type or breaks its rule.
    """

    arm: str
    lr: float
    rlp_lambda: float
    seed: int
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    momentum: float = 0.9
    extractor_scale: float = 1.0
    matched_multiplier: float | None = None
    matched_trajectory: str | None = None
    dataset: str = "digits"
    train_samples: int | None = None
    val_samples: int | None = None
    test_samples: int | None = None
    label_corruption: float = 0.0
    train_fraction: float = 1.0
    imbalance_factor: float = 1.0
    num_views: int = 0
    view_labels: str = "same"
    corruption_seed: int | None = None
    subset_share: float = 1.0
    random_label_draw: int = 0
    mixup_alpha: float = 0.0
    loss: str = "cross_entropy"
    augmentation: str = "none"
    backbone: str = "small_cnn"
    backbone_depth: int | None = None
    backbone_width: int | None = None
    dropout: float = 0.0
    projector_width: int = 0
    head: str = "nested_joint"
    num_random_labels: int = 10
    attach_points: str | None = None
    observed_attach_points: str | None = None
    copy_depth: int = 1
    copy_width: float = 1.0
    head_lr: float | None = None
    head_weight_decay: float = 0.0
    optimizer: str = "sgd"
    nesterov: bool = False
    schedule: str = "cosine"
    warmup_epochs: int = 0
    num_epochs: int = 30
    batch_size: int = 128
    precision: str = "fp32"
    eval_every: int = 1

    def __post_init__(self) -> None:
        for name in FIELD_TYPES:
            checked = _checked_type(name, getattr(self, name))
            object.__setattr__(self, name, checked)
            if checked is not None and name in _RULES:
                _check_rule(name, checked)
        settings = self.to_dict()
        _check_arm(self.arm, self.rlp_lambda)
        check_head(settings)
        check_class_head(settings)
        check_attach_points(self.attach_points, self.observed_attach_points)
        _check_matched(self)
        _check_combinations(self)
        check_copies(settings)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration with these values; omitted settings take their defaults.

        Raises:
            ConfigError: A name is unknown, a setting without default is missing, or a value is bad.
        """
        check_names(values)
        missing = [name for name in ("arm", "lr", "rlp_lambda", "seed") if name not in values]
        if missing:
            msg = f"trial parameter(s) {missing} must be given; got {sorted(values)}."
            raise ConfigError(msg)
        return cls(**dict(values))

    def to_dict(self) -> dict[str, Scalar]:
        """Return all settings by name, defaults filled in."""
        return {name: getattr(self, name) for name in FIELD_TYPES}

    @property
    def trial_id(self) -> str:
        """Hash of the canonical configuration: 16 hexadecimal digits, the same on every machine."""
        return _digest(self._identity())

    @property
    def group_key(self) -> str:
        """Hash of everything but the scalars: trials with the same key can be trained together.

        Projection arms need a step of their own and form groups among themselves.
        """
        shared = {k: v for k, v in self._identity().items() if k not in SCALARS}
        return _digest({**shared, "is_projected": True} if self.is_projected else shared)

    @property
    def is_projected(self) -> bool:
        """Whether the arm combines gradients on the extractor's parameters."""
        return get_arm(self.arm).projection != "none"

    @property
    def rlp_lambda_per_label(self) -> float | None:
        """λ/R, at which single heads of several R compare; None for other heads."""
        return self.rlp_lambda / self.num_random_labels if self.head == "single" else None

    @property
    def num_evaluations(self) -> int:
        """Evaluations of a trial trained to its end; the last epoch always counts."""
        return -(-self.num_epochs // self.eval_every)

    def class_loss_scale(self, epoch: int) -> float:
        """Return the factor on the extractor's gradient of L_class in an epoch, from 1.

        It is the planted scale times the matched κ: that of the whole training, or of the interval
        between evaluations that the epoch lies in.
        """
        if self.matched_trajectory is not None:
            multipliers = self.matched_trajectory.split(" ")
            return self.extractor_scale * float(multipliers[(epoch - 1) // self.eval_every])
        return self.extractor_scale * (self.matched_multiplier or 1.0)

    def _identity(self) -> dict[str, Scalar]:
        values = self.to_dict()
        return {
            k: v for k, v in values.items() if k not in _ADDED_SETTINGS or v != _ADDED_SETTINGS[k]
        }


def _digest(values: Mapping[str, Scalar]) -> str:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


FIELD_TYPES: dict[str, Any] = {
    field.name: get_type_hints(TrialConfig)[field.name] for field in fields(TrialConfig)
}
"""Type of every setting, by name, in the order of declaration."""

_Rule = tuple[str, Callable[[Any], bool]]

_RULES: dict[str, _Rule] = {
    "lr": ("0 < lr < inf", lambda v: 0 < v < float("inf")),
    "rlp_lambda": ("0 <= rlp_lambda < inf", lambda v: 0 <= v < float("inf")),
    "seed": ("0 <= seed", lambda v: v >= 0),
    "label_smoothing": ("0 <= label_smoothing < 1", lambda v: 0 <= v < 1),
    "weight_decay": ("0 <= weight_decay < inf", lambda v: 0 <= v < float("inf")),
    "momentum": ("0 <= momentum < 1", lambda v: 0 <= v < 1),
    "extractor_scale": ("0 < extractor_scale < inf", lambda v: 0 < v < float("inf")),
    "matched_multiplier": ("0 < matched_multiplier < inf", lambda v: 0 < v < float("inf")),
    "train_samples": ("1 <= train_samples", lambda v: v >= 1),
    "val_samples": ("1 <= val_samples", lambda v: v >= 1),
    "test_samples": ("1 <= test_samples", lambda v: v >= 1),
    "backbone_depth": ("1 <= backbone_depth", lambda v: v >= 1),
    "backbone_width": ("1 <= backbone_width", lambda v: v >= 1),
    "dropout": ("0 <= dropout < 1", lambda v: 0 <= v < 1),
    "head": (f"head in {HEADS}", lambda v: v in HEADS),
    "num_random_labels": ("2 <= num_random_labels", lambda v: v >= 2),
    "head_lr": ("0 < head_lr < inf", lambda v: 0 < v < float("inf")),
    "head_weight_decay": ("0 <= head_weight_decay < inf", lambda v: 0 <= v < float("inf")),
    "optimizer": (f"optimizer in {OPTIMIZERS}", lambda v: v in OPTIMIZERS),
    "schedule": (f"schedule in {SCHEDULES}", lambda v: v in SCHEDULES),
    "warmup_epochs": ("0 <= warmup_epochs", lambda v: v >= 0),
    "num_epochs": ("1 <= num_epochs", lambda v: v >= 1),
    "batch_size": ("2 <= batch_size", lambda v: v >= 2),
    "precision": (f"precision in {PRECISIONS}", lambda v: v in PRECISIONS),
    "eval_every": ("1 <= eval_every", lambda v: v >= 1),
    **DATA_RULES,
    **PLACE_RULES,
    **CLASS_HEAD_RULES,
}


def check_names(values: Mapping[str, Any]) -> None:
    """Refuse names that are no trial parameter.

    Raises:
        ConfigError: At least one name is unknown.
    """
    unknown = [name for name in values if name not in FIELD_TYPES]
    if unknown:
        msg = f"unknown setting(s) {unknown}; {setting_advice(unknown[0], FIELD_TYPES)}"
        raise ConfigError(msg)


def check_value(name: str, value: Any) -> Scalar:
    """Return one setting's value in its declared type, checked against its own rule.

    Raises:
        ConfigError: The name is unknown, the type is wrong or the rule is broken.
    """
    check_names({name: value})
    checked = _checked_type(name, value)
    if name == "arm":
        get_arm(str(checked))
    if checked is not None and name in _RULES:
        _check_rule(name, checked)
    return checked


def parse_value(name: str, text: str) -> Scalar:
    """Return a setting written as text, for example on the command line, checked like any other.

    Raises:
        ConfigError: The name is unknown, or the text is no value of its type.
    """
    check_names({name: text})
    kinds = setting_kinds(name)
    if text.lower() in {"none", "null"} and type(None) in kinds:
        return None
    if bool in kinds:
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
    else:
        for kind in (int, float, str):
            if kind in kinds:
                try:
                    return check_value(name, kind(text))
                except ConfigError:
                    raise
                except ValueError:
                    continue
    msg = f"`{name}` must be {kind_words(setting_kinds(name))}, but got {name}={text!r}."
    raise ConfigError(msg)


@cache
def setting_kinds(name: str) -> tuple[type, ...]:
    """Return the types that a setting's value may have; ``NoneType`` where it may be left out."""
    hint = FIELD_TYPES[name]
    return get_args(hint) or (hint,)


def _checked_type(name: str, value: Any) -> Scalar:
    kinds = setting_kinds(name)
    if hasattr(value, "item") and hasattr(value, "dtype"):
        value = value.item()  # a NumPy scalar
    if isinstance(value, int) and value.bit_length() > 63:  # more than a column holds
        msg = f"`abs({name}) < 2**63` must hold, but got a number of {value.bit_length()} bits."
        raise ConfigError(msg)
    if float in kinds and type(value) in {int, float}:
        return float(value) + 0.0  # -0.0 is 0.0, so that equal settings have equal ids
    if type(value) in kinds:
        return value  # type: ignore[no-any-return]  # its type was just compared
    msg = f"`{name}` must be {kind_words(setting_kinds(name))}, but got {name}={value!r}."
    raise ConfigError(msg)


def _check_rule(name: str, value: Any) -> None:
    rule, holds = _RULES[name]
    if not holds(value):
        msg = f"`{rule}` must hold, but got {name}={value!r}."
        raise ConfigError(msg)


def _check_arm(name: str, rlp_lambda: float) -> None:
    is_control = not get_arm(name).has_lambda
    if is_control and rlp_lambda != 0:
        msg = f"`rlp_lambda == 0` must hold in arm {name!r}, but got rlp_lambda={rlp_lambda!r}."
        raise ConfigError(msg)
    if not is_control and rlp_lambda == 0:
        msg = (
            f"`rlp_lambda > 0` must hold in arm {name!r}, but got rlp_lambda={rlp_lambda!r}; "
            "the trial without regularizer is the arm 'control'."
        )
        raise ConfigError(msg)


MATCHED_SETTINGS = {False: "matched_multiplier", True: "matched_trajectory"}
"""What states the κ of a matched arm, by whether that arm replays."""


def matched_setting(arm: str) -> str | None:
    """Return the setting that states the κ of this arm; None where it is matched to none."""
    known = get_arm(arm)
    return None if known.matched_to is None else MATCHED_SETTINGS[known.replays]


def _check_matched(config: TrialConfig) -> None:
    wanted, arm = matched_setting(config.arm), config.arm
    for name in MATCHED_SETTINGS.values():
        value = getattr(config, name)
        if name == wanted and value is None:
            msg = (
                f"arm {arm!r} must state the κ of the {get_arm(arm).matched_to!r} trials that it "
                f"is matched to, `{name}`; `rlp-sweeps follow-up DIR` measures and schedules it."
            )
            raise ConfigError(msg)
        if name != wanted and value is not None:
            matched = [known for known in ARMS if matched_setting(known) == name]
            msg = (
                f"`{name}` belongs to the arms {matched}, but got {name}={value!r} in arm {arm!r}; "
                "a scale of any arm's class gradient is `extractor_scale`."
            )
            raise ConfigError(msg)
    if config.matched_trajectory is not None:
        _check_trajectory(config.matched_trajectory, config.num_evaluations)


def _check_trajectory(trajectory: str, num_evaluations: int) -> None:
    try:
        multipliers = [float(text) for text in trajectory.split(" ")]
    except ValueError:
        multipliers = []
    is_right = all(0 <= multiplier < float("inf") for multiplier in multipliers)
    if len(multipliers) != num_evaluations or not is_right:
        msg = (
            "`matched_trajectory` must be one number κ with 0 <= κ < inf for each of the "
            f"{num_evaluations} evaluation(s), separated by single spaces, but got "
            f"matched_trajectory={trajectory!r}."
        )
        raise ConfigError(msg)


def _check_combinations(config: TrialConfig) -> None:
    check_data_settings(config.to_dict())
    if config.warmup_epochs >= config.num_epochs:
        msg = (
            "`warmup_epochs < num_epochs` must hold, but got "
            f"warmup_epochs={config.warmup_epochs}, num_epochs={config.num_epochs}."
        )
        raise ConfigError(msg)
    if config.nesterov and (config.optimizer != "sgd" or config.momentum == 0):
        msg = (
            "`nesterov` needs optimizer='sgd' with momentum > 0, but got "
            f"optimizer={config.optimizer!r}, momentum={config.momentum!r}."
        )
        raise ConfigError(msg)
