import dataclasses
import re
from typing import Any

import pytest

from rlp_sweeps.config import (
    FIELD_TYPES,
    MATCHED_SETTINGS,
    SCALARS,
    TrialConfig,
    check_names,
    check_value,
    parse_value,
)
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.settings import decimal_comma_notice, values_of_setting

MINIMAL: dict[str, Any] = {"arm": "full", "lr": 0.1, "rlp_lambda": 1.0, "seed": 0}


def make(**changes: Any) -> TrialConfig:
    return TrialConfig.from_dict({**MINIMAL, **changes})


def test_config_refuses_an_unknown_name_and_lists_the_known() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown setting\(s\) \['lambda'\]; did you mean 'rlp_lambda'\?"
    ):
        make(**{"lambda": 1.0})


@pytest.mark.parametrize("name", ["arm", "lr", "rlp_lambda", "seed"])
def test_config_refuses_a_missing_setting_that_has_no_default(name: str) -> None:
    values = {k: v for k, v in MINIMAL.items() if k != name}

    with pytest.raises(ConfigError, match=rf"trial parameter\(s\) \['{name}'\] must be given"):
        TrialConfig.from_dict(values)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("lr", 0.0, "0 < lr < inf"),
        ("lr", float("nan"), "0 < lr < inf"),
        ("lr", float("inf"), "0 < lr < inf"),
        ("rlp_lambda", -1.0, "0 <= rlp_lambda < inf"),
        ("seed", -1, "0 <= seed"),
        ("label_smoothing", 1.0, "0 <= label_smoothing < 1"),
        ("weight_decay", -1e-4, "0 <= weight_decay < inf"),
        ("momentum", 1.0, "0 <= momentum < 1"),
        ("extractor_scale", 0.0, "0 < extractor_scale < inf"),
        ("train_samples", 0, "1 <= train_samples"),
        ("val_samples", 0, "1 <= val_samples"),
        ("test_samples", 0, "1 <= test_samples"),
        ("backbone_depth", 0, "1 <= backbone_depth"),
        ("backbone_width", 0, "1 <= backbone_width"),
        ("dropout", 1.0, "0 <= dropout < 1"),
        (
            "head",
            "nested",
            "head in ('nested_joint', 'nested_per_class', 'single', 'single_output')",
        ),
        ("num_random_labels", 1, "2 <= num_random_labels"),
        ("head_lr", 0.0, "0 < head_lr < inf"),
        ("head_weight_decay", -1.0, "0 <= head_weight_decay < inf"),
        ("optimizer", "adam", "optimizer in ('sgd', 'adamw')"),
        ("schedule", "linear", "schedule in ('cosine', 'constant', 'step')"),
        ("warmup_epochs", -1, "0 <= warmup_epochs"),
        ("num_epochs", 0, "1 <= num_epochs"),
        ("batch_size", 1, "2 <= batch_size"),
        ("precision", "fp16", "precision in ('fp32', 'bf16')"),
        ("eval_every", 0, "1 <= eval_every"),
        ("label_corruption", 1.1, "0 <= label_corruption <= 1"),
        ("train_fraction", 0.0, "0 < train_fraction <= 1"),
        ("imbalance_factor", 0.5, "1 <= imbalance_factor < inf"),
        ("num_views", -1, "0 <= num_views"),
        ("loss", "squared", "loss in ('cross_entropy', 'mse')"),
        ("mixup_alpha", 1e-9, "mixup_alpha = 0 or 0.001 <= mixup_alpha < inf"),
        ("view_labels", "fixed", "view_labels in ('same', 'random')"),
        ("corruption_seed", -1, "0 <= corruption_seed"),
        ("subset_share", 1.5, "0 < subset_share <= 1"),
        ("random_label_draw", -1, "0 <= random_label_draw"),
    ],
)
def test_config_refuses_a_value_that_breaks_its_rule(name: str, value: object, rule: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"`{rule}` must hold, but got {name}=")):
        make(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("lr", "0.1", "a number"),
        ("lr", True, "a number"),
        ("lr", None, "a number"),
        ("seed", 1.0, "a whole number"),
        ("seed", True, "a whole number"),
        ("nesterov", 1, "true or false"),
        ("dataset", None, "a text"),
        ("train_samples", 1.5, "a whole number or none"),
    ],
)
def test_config_refuses_a_value_of_another_type(name: str, value: object, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must be {kind}, but got {name}="):
        make(**{name: value})


def test_config_refuses_an_unknown_arm() -> None:
    with pytest.raises(ConfigError, match=r"unknown arm 'treated'; "):
        make(arm="treated")


def test_config_refuses_a_control_arm_with_lambda() -> None:
    with pytest.raises(ConfigError, match=r"`rlp_lambda == 0` must hold in arm 'control'"):
        make(arm="control", rlp_lambda=1.0)


@pytest.mark.parametrize("arm", ["full", "class_term", "uniform_term", "sham"])
def test_config_refuses_a_regularized_arm_without_lambda(arm: str) -> None:
    with pytest.raises(ConfigError, match=f"`rlp_lambda > 0` must hold in arm '{arm}'"):
        make(arm=arm, rlp_lambda=0.0)


def test_config_refuses_a_warmup_as_long_as_the_training() -> None:
    with pytest.raises(ConfigError, match=r"`warmup_epochs < num_epochs` must hold"):
        make(warmup_epochs=5, num_epochs=5)


@pytest.mark.parametrize("changes", [{"optimizer": "adamw"}, {"momentum": 0.0}])
def test_config_refuses_nesterov_without_sgd_momentum(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"`nesterov` needs optimizer='sgd' with momentum > 0"):
        make(nesterov=True, **changes)


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().lr = 1.0  # type: ignore[misc]


def test_config_takes_an_int_for_a_float_as_the_same_trial() -> None:
    assert make(lr=1, rlp_lambda=2) == make(lr=1.0, rlp_lambda=2.0)
    assert make(lr=1, rlp_lambda=2).trial_id == make(lr=1.0, rlp_lambda=2.0).trial_id


def test_config_comes_back_from_its_dict() -> None:
    config = make(label_smoothing=0.1, head_lr=None, train_samples=100)

    assert TrialConfig.from_dict(config.to_dict()) == config


def test_trial_id_keeps_its_golden_value() -> None:
    assert make().trial_id == "d7f051c499439caf"
    assert make().group_key == "ea7f0e948dba96e7"


def test_trial_id_ignores_the_order_of_settings() -> None:
    assert TrialConfig.from_dict(dict(reversed(MINIMAL.items()))).trial_id == make().trial_id


CHANGES: dict[str, Any] = {
    "arm": "sham",
    "lr": 0.2,
    "rlp_lambda": 2.0,
    "seed": 1,
    "label_smoothing": 0.1,
    "weight_decay": 1e-4,
    "momentum": 0.5,
    "extractor_scale": 2.0,
    "dataset": "cifar10",
    "train_samples": 10,
    "subset_share": 0.7,
    "random_label_draw": 2,
    "val_samples": 10,
    "test_samples": 10,
    "label_corruption": 0.5,
    "corruption_seed": 1,
    "train_fraction": 0.5,
    "imbalance_factor": 10.0,
    "num_views": 2,
    "view_labels": "random",
    "mixup_alpha": 0.5,
    "loss": "mse",
    "head": "single",
    "augmentation": "other",
    "backbone": "mlp",
    "backbone_depth": 2,
    "backbone_width": 2,
    "dropout": 0.1,
    "projector_width": 16,
    "num_random_labels": 2,
    "attach_points": "conv1,conv2",
    "observed_attach_points": "all",
    "copy_depth": 2,
    "head_lr": 0.1,
    "head_weight_decay": 0.1,
    "optimizer": "adamw",
    "nesterov": True,
    "schedule": "step",
    "warmup_epochs": 1,
    "num_epochs": 3,
    "batch_size": 32,
    "precision": "bf16",
    "eval_every": 2,
}
VIEWED: dict[str, Any] = {"augmentation": "crop", "num_views": 1, "label_corruption": 1.0}
COMPANIONS: dict[str, dict[str, Any]] = {"num_views": VIEWED, "view_labels": VIEWED}
"""Settings without which another cannot be changed."""


def test_every_setting_with_a_choice_stands_in_the_table_of_changes() -> None:
    assert set(CHANGES) == set(FIELD_TYPES) - {*MATCHED_SETTINGS.values(), "copy_width"}


def test_ids_are_those_from_before_a_setting_was_added() -> None:
    assert make().trial_id == "d7f051c499439caf"
    assert make().group_key == "ea7f0e948dba96e7"


def test_a_rescaled_trial_is_told_by_its_multiplier_and_joins_its_group() -> None:
    rescaled = make(arm="rescaled", matched_multiplier=1.5)

    assert rescaled.trial_id != make(arm="rescaled", matched_multiplier=2.0).trial_id
    assert rescaled.group_key == make().group_key
    assert rescaled.class_loss_scale(1) == rescaled.class_loss_scale(2) == 1.5


def test_projection_arms_form_groups_of_their_own() -> None:
    assert make(arm="orthogonal").group_key == make(arm="grafted").group_key != make().group_key


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"arm": "rescaled"}, "must state the κ of the 'full' trials .* follow-up DIR"),
        ({"arm": "full", "matched_multiplier": 2.0}, r"belongs to the arms \['rescaled', "),
        ({"arm": "rescaled", "matched_multiplier": 0.0}, "0 < matched_multiplier < inf"),
        (
            {"arm": "rescaled", "matched_multiplier": 1.0, "rlp_lambda": 0.0},
            "`rlp_lambda > 0` must hold in arm 'rescaled'",
        ),
    ],
)
def test_a_multiplier_and_its_arm_go_together(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(**settings)


@pytest.mark.parametrize("name", CHANGES)
def test_trial_id_changes_with_every_setting(name: str) -> None:
    before = COMPANIONS.get(name, {})

    assert make(**{**before, name: CHANGES[name]}).trial_id != make(**before).trial_id


@pytest.mark.parametrize("name", CHANGES)
def test_group_key_ignores_scalars_and_nothing_else(name: str) -> None:
    before = COMPANIONS.get(name, {})

    same_group = make(**{**before, name: CHANGES[name]}).group_key == make(**before).group_key

    assert same_group == (name in SCALARS)


def test_check_names_refuses_several_names_at_once() -> None:
    with pytest.raises(ConfigError, match=r"\['a', 'b'\]"):
        check_names({"a": 1, "lr": 1, "b": 2})


def test_check_value_refuses_an_unknown_arm() -> None:
    with pytest.raises(ConfigError, match="unknown arm 'x'"):
        check_value("arm", "x")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e-3", 0.001),
        ("lr", "1", 1.0),
        ("seed", "3", 3),
        ("train_samples", "none", None),
        ("train_samples", "500", 500),
        ("head_lr", "Null", None),
        ("nesterov", "true", True),
        ("nesterov", "False", False),
        ("dataset", "cifar10", "cifar10"),
    ],
)
def test_parse_value_returns_the_declared_type(name: str, text: str, value: object) -> None:
    parsed = parse_value(name, text)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lr", "fast", "`lr` must be a number, but got lr='fast'"),
        ("lr", "none", "`lr` must be a number, but got lr='none'"),
        ("lr", "nan", "`0 < lr < inf` must hold, but got lr=nan"),
        ("num_epochs", "2.5", "`num_epochs` must be a whole number, but got num_epochs='2.5'"),
        ("nesterov", "yes", "`nesterov` must be true or false, but got nesterov='yes'"),
        ("batch_size", "1", "`2 <= batch_size` must hold, but got batch_size=1"),
        ("lambda", "1", r"unknown setting\(s\) \['lambda'\]"),
    ],
)
def test_parse_value_refuses_what_is_no_such_value(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_value(name, text)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"attach_points": ""}, "separated by commas alone, but got attach_points=''"),
        ({"attach_points": "a, b"}, "must be names of attach points separated by commas alone"),
        ({"observed_attach_points": "a,,b"}, "separated by commas alone"),
        ({"attach_points": "a,a"}, r"each attach point once, but \['a'\] come"),
        ({"attach_points": "a", "observed_attach_points": "b,a"}, "where heads regularize, one"),
        ({"attach_points": "all"}, "'all' stands alone in `observed_attach_points`"),
        ({"observed_attach_points": "a,all"}, "'all' stands alone in `observed_attach_points`"),
    ],
)
def test_attach_points_that_no_backbone_could_have_are_refused(settings, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(**settings)


def test_attach_points_on_the_command_line_are_one_value_with_commas() -> None:
    assert values_of_setting("attach_points", "conv1,conv2") == ("conv1,conv2",)
    assert values_of_setting("attach_points", "none") == (None,)


@pytest.mark.parametrize(
    ("text", "number"),
    [("lr=0,1", "0.1"), ("weight_decay=0,0005", "0.0005")],
)
def test_a_decimal_comma_is_refused_where_no_two_values_can_be_meant(
    text: str, number: str
) -> None:
    name, value = text.split("=")

    with pytest.raises(ConfigError, match=rf"with a point, .* `--set {name}={number}` gives one"):
        values_of_setting(name, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weight_decay=0,1", "gives two values, 0 and 1; a decimal number is written with a point"),
        ("rlp_lambda=1,5", "with a point, 1.5."),
        *((text, None) for text in ("rlp_lambda=1,10", "lr=0.1,0.5", "num_epochs=1,5", "lr=1,2,3")),
        *((text, None) for text in ("lr=0.1", "zzz=0,1", "dropout=1,5", "dataset=a,b")),
    ],
)
def test_two_values_that_may_be_a_decimal_comma_are_named(text: str, said: str | None) -> None:
    notice = decimal_comma_notice(*text.split("="))

    assert (notice is None) if said is None else (said in str(notice))


def test_a_single_heads_strength_is_told_per_label_and_no_other_heads() -> None:
    single = make(arm="full", rlp_lambda=100.0, head="single", num_random_labels=50)

    assert single.rlp_lambda_per_label == 2.0
    assert make(arm="full", rlp_lambda=100.0).rlp_lambda_per_label is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"projector_width": -1}, "0 <= projector_width"),
        (
            {"projector_width": 8, "head": "single_output"},
            r"class head to put .* got {\'projector_width\': 8}",
        ),
        ({"projector_width": 8, "copy_depth": 2}, r"no projector, but got .* copy_depth=2; use"),
    ],
)
def test_a_projector_that_cannot_be_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(**{"arm": "control", "rlp_lambda": 0.0, **settings})
