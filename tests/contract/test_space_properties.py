"""What holds of every search space: its grid is the product of its axes, its draws lie inside."""

import itertools
import json

import optuna
from config_strategies import axes, spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from rlp_sweeps.axes import Axis, ChoiceAxis
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.orchestration.planner import point_group
from rlp_sweeps.orchestration.search import optuna_distributions
from rlp_sweeps.spaces import Search, SearchSpace, space_from_dict

optuna.logging.set_verbosity(optuna.logging.WARNING)


@settings(max_examples=100)
@given(space=spaces())
def test_a_grid_is_exactly_the_product_with_each_control_trial_once(space: SearchSpace) -> None:
    values = {
        name: ({axis.control} if axis.control is not None and name != "rlp_lambda" else set())
        | set(axis.values())
        for name, axis in space.axes.items()
    }
    rest = [name for name in values if name != "rlp_lambda"]
    expected = set()
    for cell in itertools.product(*(values[name] for name in rest)):
        for seed, arm in itertools.product(space.seeds, space.arms):
            lambdas = {0.0} if arm == "control" else values["rlp_lambda"]
            expected |= {(*cell, rlp_lambda, arm, seed) for rlp_lambda in lambdas}

    trials = list(map(TrialConfig.from_dict, space.grid()))

    keys = [(*(getattr(t, name) for name in rest), t.rlp_lambda, t.arm, t.seed) for t in trials]
    assert set(keys) == expected
    assert len(keys) == len(expected)
    assert [t.seed for t in trials] == sorted(t.seed for t in trials)


@settings(max_examples=100)
@given(axis=axes(1e-6, 1e6))
def test_values_of_an_axis_ascend_within_its_bounds(axis: Axis) -> None:
    values = list(axis.values())

    assert len(set(values)) == len(values) >= 1
    if not isinstance(axis, ChoiceAxis):
        assert values == sorted(values)
        assert len(values) <= axis.num_points
        assert axis.low * (1 - 1e-11) <= values[0] <= values[-1] <= axis.high * (1 + 1e-11)


@settings(max_examples=100)
@given(space=spaces())
def test_a_space_survives_json(space: SearchSpace) -> None:
    again = space_from_dict(json.loads(json.dumps(space.to_dict())))

    assert list(again.grid()) == list(space.grid())
    assert again.to_dict() == json.loads(json.dumps(space.to_dict())) | {
        "arms": again.arms,
        "claims": (),
        "probes": (),
        "axes": again.to_dict()["axes"],
    }


@settings(max_examples=60)
@given(space=spaces(min_axes=1), seed=st.integers(0, 99))
def test_what_optuna_samples_lies_on_the_axes_and_trains_whole_points(
    space: SearchSpace, seed: int
) -> None:
    plain = {n: a for n, a in space.axes.items() if n == "rlp_lambda" or a.control is None}
    fixed = {"lr": 0.1} if "lr" not in plain else {}
    arms = tuple(arm for arm in space.arms if arm != "orthogonal")
    search = Search(num_points=1, objective_arm="control")
    searched = SearchSpace(
        axes=plain, fixed=fixed, arms=arms, num_seeds=space.num_seeds, search=search
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))

    point = study.ask(optuna_distributions(searched)).params
    group = point_group(searched, point, point=0)

    for name, axis in plain.items():
        inside = (
            point[name] in axis.values()
            if isinstance(axis, ChoiceAxis)
            else axis.low <= point[name] <= axis.high
        )
        assert inside
    assert sorted((t.arm, t.seed) for t in group.trials) == sorted(
        itertools.product(arms, searched.seeds)
    )
