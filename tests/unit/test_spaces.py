import dataclasses
import json
import math
import re
from typing import Any

import numpy as np
import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ArgumentError, ConfigError, SearchSpaceError
from rlp_sweeps.spaces import (
    ChoiceAxis,
    LinearAxis,
    LogAxis,
    Search,
    SearchSpace,
    space_from_dict,
)

LAMBDAS = ChoiceAxis(choices=(1.0, 10.0), control=0.0)


def make_space(**changes: Any) -> SearchSpace:
    values: dict[str, Any] = {
        "axes": {"lr": ChoiceAxis(choices=(0.01, 0.1)), "rlp_lambda": LAMBDAS},
        "arms": ("control", "full"),
        "num_seeds": 2,
    }
    return SearchSpace(**{**values, **changes})


def make_search(**changes: Any) -> SearchSpace:
    return make_space(**{"search": Search(num_points=4), **changes})


@pytest.mark.parametrize("low", [0, 0.0, -1.0, float("nan")])
def test_log_axis_refuses_a_low_end_that_has_no_logarithm(low: float) -> None:
    message = (
        rf"^`0 < low <= high` must hold on a log axis, but got low={low!r}, high=1\.0\. "
        r"For an arm at 0, set `control=0\.0`\.$"
    )
    with pytest.raises(SearchSpaceError, match=message):
        LogAxis(low=low, high=1.0, num_points=3)


@pytest.mark.parametrize("kind", [LogAxis, LinearAxis])
@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (1.0, math.inf)])
def test_axis_refuses_a_range_without_order_or_end(
    kind: type[LogAxis], low: float, high: float
) -> None:
    with pytest.raises(SearchSpaceError, match=r"low <= high` must hold"):
        kind(low=low, high=high, num_points=2)


@pytest.mark.parametrize("kind", [LogAxis, LinearAxis])
def test_axis_refuses_no_points(kind: type[LogAxis]) -> None:
    with pytest.raises(SearchSpaceError, match=r"`1 <= num_points` must hold .* num_points=0"):
        kind(low=0.1, high=1.0, num_points=0)


def test_log_axis_spaces_its_values_evenly_in_the_logarithm() -> None:
    assert LogAxis(low=0.001, high=1.0, num_points=4).values() == (0.001, 0.01, 0.1, 1.0)


def test_linear_axis_spaces_its_values_evenly() -> None:
    assert LinearAxis(low=0.0, high=0.3, num_points=4).values() == (0.0, 0.1, 0.2, 0.3)


@pytest.mark.parametrize("kind", [LogAxis, LinearAxis])
def test_axis_of_one_point_is_its_low_end(kind: type[LogAxis]) -> None:
    assert kind(low=0.1, high=1.0, num_points=1).values() == (0.1,)


def test_choice_axis_refuses_an_empty_list() -> None:
    with pytest.raises(SearchSpaceError, match="an axis must have at least one value"):
        ChoiceAxis(choices=())


def test_choice_axis_refuses_a_value_twice() -> None:
    with pytest.raises(SearchSpaceError, match="no two values of an axis may be alike"):
        ChoiceAxis(choices=(1, 1.0))


def test_space_without_control_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match=r"`'control' in arms` must hold, because every"):
        make_space(arms=("full", "sham"))


def test_space_without_axes_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match="must have at least one axis"):
        make_space(axes={})


def test_space_refuses_an_axis_that_is_no_setting() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting\(s\) \['lambda'\]"):
        make_space(axes={"lambda": LAMBDAS})


def test_space_refuses_an_axis_value_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"`0 <= momentum < 1` must hold, but got momentum=1\.0"):
        make_space(axes={"lr": ChoiceAxis(choices=(0.1,)), "momentum": ChoiceAxis(choices=(1.0,))})


def test_space_refuses_an_axis_of_another_kind() -> None:
    with pytest.raises(SearchSpaceError, match="axis 'lr' must be a LogAxis, LinearAxis or Choice"):
        make_space(axes={"lr": (0.1, 0.2)})


def test_space_refuses_a_fixed_setting_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"`1 <= num_epochs` must hold"):
        make_space(fixed={"num_epochs": 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_seeds": 0}, "`1 <= num_seeds` must hold, but got num_seeds=0"),
        ({"num_seeds": True}, "`1 <= num_seeds` must hold, but got num_seeds=True"),
        ({"first_seed": -1}, "`0 <= first_seed` must hold"),
        ({"arms": ("control", "control")}, "no two arms of a space may be alike"),
        ({"fixed": {"lr": 0.1}}, r"\['lr'\] stand\(s\) in `axes` and in `fixed`"),
        ({"fixed": {"seed": 1}}, r"\['seed'\] must not stand in `axes` or `fixed`"),
        ({"search": Search(num_points=2, objective_arm="sham")}, "`objective_arm` of a search"),
    ],
)
def test_space_refuses_a_design_that_cannot_be_rendered(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        make_space(**changes)


@pytest.mark.parametrize("control", [None, 0.5])
def test_lambda_axis_must_state_its_control_value_apart(control: float | None) -> None:
    axes = {"rlp_lambda": ChoiceAxis(choices=(1.0,), control=control)}

    with pytest.raises(SearchSpaceError, match=r"`control=0\.0`, but got control="):
        make_space(axes=axes, fixed={"lr": 0.1})


def test_lambda_axis_must_not_hold_zero_in_its_range() -> None:
    axes = {"rlp_lambda": ChoiceAxis(choices=(0.0, 1.0), control=0.0)}

    with pytest.raises(SearchSpaceError, match="`rlp_lambda > 0` must hold on the axis"):
        make_space(axes=axes, fixed={"lr": 0.1})


@pytest.mark.parametrize("missing", ["lr", "rlp_lambda"])
def test_space_refuses_to_leave_a_setting_without_default_open(missing: str) -> None:
    axes = {"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": LAMBDAS}
    del axes[missing]

    with pytest.raises(ArgumentError, match=missing):
        make_space(axes=axes)


def test_grid_trains_one_control_for_all_lambdas_of_a_cell() -> None:
    trials = list(make_space().grid())

    by_arm = [trial["arm"] for trial in trials]
    assert by_arm.count("control") == 2 * 2  # learning rates × seeds
    assert by_arm.count("full") == 2 * 2 * 2
    assert all((trial["rlp_lambda"] == 0) == (trial["arm"] == "control") for trial in trials)


def test_grid_holds_no_trial_twice_and_whole_replicates_first() -> None:
    trials = list(make_space().grid())

    ids = [TrialConfig.from_dict(trial).trial_id for trial in trials]
    assert len(set(ids)) == len(ids)
    assert [trial["seed"] for trial in trials] == sorted(trial["seed"] for trial in trials)


def test_grid_configs_are_those_of_the_grids_settings() -> None:
    space = make_space()

    assert list(space.grid_configs()) == list(map(TrialConfig.from_dict, space.grid()))


def test_grid_starts_at_the_first_seed() -> None:
    space = make_space(first_seed=5)

    assert {trial["seed"] for trial in space.grid()} == {5, 6}


def test_control_value_of_another_axis_is_one_more_grid_value() -> None:
    axis = LogAxis(low=0.1, high=0.4, num_points=2, control=0.0)
    space = make_space(axes={"lr": ChoiceAxis(choices=(0.1,)), "label_smoothing": axis,
                             "rlp_lambda": LAMBDAS})  # fmt: skip

    assert {point["label_smoothing"] for point in space.points()} == {0.0, 0.1, 0.4}


def test_space_takes_label_smoothing_from_fixed_settings() -> None:
    space = make_space(fixed={"label_smoothing": 0.1})

    assert {trial["label_smoothing"] for trial in space.grid()} == {0.1}


def test_override_replaces_a_fixed_setting() -> None:
    space = make_space(fixed={"num_epochs": 30}).override({"num_epochs": "5", "momentum": "0.5"})

    assert space.fixed == {"num_epochs": 5, "momentum": 0.5}


def test_override_replaces_an_axis_and_keeps_its_control_value() -> None:
    space = make_space().override({"rlp_lambda": "3", "lr": "0.2, 0.3"})

    assert space.axes["rlp_lambda"] == ChoiceAxis(choices=(3.0,), control=0.0)
    assert space.axes["lr"].values() == (0.2, 0.3)


def test_override_makes_a_new_axis_of_several_values() -> None:
    space = make_space(fixed={"batch_size": 64}).override({"batch_size": "32,64"})

    assert space.axes["batch_size"].values() == (32, 64)
    assert "batch_size" not in space.fixed


def test_override_makes_a_new_lambda_axis_with_its_control_value() -> None:
    fixed = {"rlp_lambda": 1.0}
    space = make_space(axes={"lr": ChoiceAxis(choices=(0.1,))}, fixed=fixed)

    assert space.override({"rlp_lambda": "1,2"}).axes["rlp_lambda"].control == 0.0


@pytest.mark.parametrize(
    "names", [("num_epochs", "warmup_epochs"), ("warmup_epochs", "num_epochs")]
)
def test_override_is_checked_as_a_whole_whatever_the_order(names: tuple[str, str]) -> None:
    space = make_space(fixed={"num_epochs": 30, "warmup_epochs": 5})
    values = {"num_epochs": "3", "warmup_epochs": "0"}

    assert space.override({name: values[name] for name in names}).fixed["num_epochs"] == 3


def test_override_leaves_the_space_it_came_from_alone() -> None:
    space = make_space()

    space.override({"lr": "1.0", "num_epochs": "2", "data_dir": "/elsewhere"})

    assert space == make_space()


def test_override_moves_the_data_folder() -> None:
    assert make_space().override({"data_dir": "/data"}).data_dir == "/data"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lamda": "1"}, r"unknown setting 'lamda' in --set; did you mean 'rlp_lambda'\?"),
        (
            {"seed": "1"},
            "'seed' cannot be set; choose `arms` in the recipe, seeds with `--num-seeds N`",
        ),
        ({"arm": "full"}, "'arm' cannot be set"),
        ({"lr": "0"}, r"`0 < lr < inf` must hold, but got lr=0\.0"),
        ({"lr": "fast"}, "`lr` must be a number, but got lr='fast'"),
        ({"lr": "0.1,x"}, "`lr` must be a number, but got lr='x'"),
        ({"lr": "0.1,0.1"}, "no two values of an axis may be alike"),
        ({"rlp_lambda": "0"}, "`rlp_lambda > 0` must hold on the axis"),
        ({"num_epochs": "2", "warmup_epochs": "2"}, "`warmup_epochs < num_epochs` must hold"),
    ],
)
def test_override_is_checked_like_the_recipe(settings: dict[str, str], message: str) -> None:
    with pytest.raises((ConfigError, SearchSpaceError), match=message):
        make_space().override(settings)


@pytest.mark.parametrize(
    "text",
    ["", ",", "0.1,", "[0.1,0.2]", "(0.1,0.2)", "[a,b]", "0.1;0.2", "0.1 0.2", "0.1:0.2", "'0.1'"],
)
def test_override_says_how_several_values_are_written(text: str) -> None:
    says = f"separated by commas alone, as in `--set lr=0.1,0.2`, but got lr={text!r}."

    with pytest.raises(ConfigError, match=re.escape(says)):
        make_space().override({"lr": text})


@pytest.mark.parametrize(
    ("name", "text", "example"),
    [
        ("num_epochs", "[2,3]", "num_epochs=2,4"),
        ("train_samples", "", "train_samples=2,4"),
        ("nesterov", "(true)", "nesterov=true,false"),
        ("dataset", "[digits]", "dataset=NAME1,NAME2"),
    ],
)
def test_override_gives_an_example_of_the_settings_type(name: str, text: str, example: str) -> None:
    with pytest.raises(ConfigError, match=f"`--set {example}`"):
        make_space().override({name: text})


def test_override_leaves_the_commas_within_a_generated_data_set_alone() -> None:
    space = make_space().override({"dataset": "synthetic:1,8,8,4,600, digits,my.module:load"})

    assert space.axes["dataset"].values() == ("synthetic:1,8,8,4,600", "digits", "my.module:load")
    one = make_space().override({"dataset": "synthetic:1,8,8,4,600"})
    assert one.fixed["dataset"] == "synthetic:1,8,8,4,600"


@pytest.mark.parametrize("space", [make_space(), make_search(data_dir="/x", claim="c")])
def test_space_comes_back_from_the_manifest(space: SearchSpace) -> None:
    assert space_from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_space_of_every_axis_kind_comes_back_from_the_manifest() -> None:
    axes = {
        "lr": LogAxis(low=0.01, high=1.0, num_points=3),
        "label_smoothing": LinearAxis(low=0.0, high=0.2, num_points=3),
        "rlp_lambda": LogAxis(low=0.1, high=1.0, num_points=2, control=0.0),
        "backbone": ChoiceAxis(choices=("mlp", "small_cnn")),
    }
    space = make_space(axes=axes)

    assert space_from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_space_from_dict_refuses_an_unknown_axis_type() -> None:
    values = make_space().to_dict()
    values["axes"]["lr"]["type"] = "PowerAxis"

    with pytest.raises(SearchSpaceError, match=r"axis 'lr' must be one of .*'PowerAxis'"):
        space_from_dict(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_points": 0},
        {"sampler": "cma"},
        {"objectives": ("test_accuracy",)},
        {"objectives": ()},
        {"objectives": ("val_accuracy", "val_accuracy")},
        {"grace_epochs": 0},
        {"reduction_factor": 1},
        {"objectives": ("val_accuracy", "memorization"), "early_stopping": True},
    ],
)
def test_search_refuses_what_no_sampler_can_walk(changes: dict[str, Any]) -> None:
    with pytest.raises(
        SearchSpaceError, match=f"must hold in a search, but got {next(iter(changes))}="
    ):
        Search(**{"num_points": 4, **changes})


def test_search_refuses_a_control_value_beside_a_range() -> None:
    axes = {"lr": LogAxis(low=0.1, high=1.0, num_points=2, control=0.05), "rlp_lambda": LAMBDAS}

    with pytest.raises(SearchSpaceError, match="cannot hold a control value beside a range"):
        make_search(axes=axes)


def test_search_may_run_without_a_control_arm() -> None:
    assert make_search(arms=("full",)).arms == ("full",)


def test_trials_of_a_point_are_every_seed_under_every_arm() -> None:
    trials = make_search(arms=("control", "full", "sham")).trials_of({"lr": 0.3, "rlp_lambda": 2.0})

    assert [(t["seed"], t["arm"], t["rlp_lambda"]) for t in trials] == [
        (seed, arm, 0.0 if arm == "control" else 2.0)
        for seed in (0, 1)
        for arm in ("control", "full", "sham")
    ]


def test_space_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_space().num_seeds = 3  # type: ignore[misc]


def test_a_space_without_lambda_trains_the_control_arm_alone() -> None:
    space = SearchSpace(axes={"lr": LogAxis(low=0.01, high=1.0, num_points=7)}, num_seeds=5)

    assert space.arms == ("control",)
    assert len(list(space.grid())) == 35


def test_regularized_arms_without_lambda_are_refused() -> None:
    axes = {"lr": LogAxis(low=0.01, high=1.0, num_points=7)}

    with pytest.raises(SearchSpaceError, match="need a λ; give `rlp_lambda` as an axis"):
        SearchSpace(axes=axes, num_seeds=1, arms=("control", "full"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"low": "a", "high": 1.0, "num_points": 2}, "`low` of an axis must be a number"),
        (
            {"low": 0.1, "high": 1.0, "num_points": 2.5},
            "`num_points` of an axis must be a whole number",
        ),
    ],
)
def test_an_axis_refuses_values_of_another_type(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SearchSpaceError, match=sentence):
        LogAxis(**settings)


def test_a_text_is_no_list_of_choices() -> None:
    with pytest.raises(SearchSpaceError, match="`choices` must be a sequence of values"):
        ChoiceAxis(choices="sgd")


def test_numpy_values_become_plain_numbers() -> None:
    axis = ChoiceAxis(choices=np.logspace(-2, 0, 3))

    assert [type(value) for value in axis.values()] == [float] * 3


@pytest.mark.parametrize(
    ("head", "arms"),
    [
        ("nested_joint", ("control", "full", "class_term", "uniform_term", "sham")),
        ("nested_per_class", ("control", "full", "class_term", "uniform_term", "sham")),
        ("single", ("control", "full", "sham")),
    ],
)
def test_the_arms_of_a_space_that_names_none_are_those_that_its_head_has(head, arms) -> None:
    axes = {"rlp_lambda": ChoiceAxis(choices=(1.0,), control=0.0)}

    fixed = SearchSpace(axes=axes, num_seeds=1, fixed={"lr": 0.1, "head": head})
    heads = dict.fromkeys(("nested_joint", head))
    varied = SearchSpace(
        axes={**axes, "head": ChoiceAxis(choices=tuple(heads))}, num_seeds=1, fixed={"lr": 0.1}
    )

    assert fixed.arms == varied.arms == arms
