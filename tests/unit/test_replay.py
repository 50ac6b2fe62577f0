"""Replayed controls: what their settings say, and what a follow-up schedules them at."""

import dataclasses
import math

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ArgumentError, ConfigError
from rlp_sweeps.orchestration.follow_up import Replay, plan_follow_up
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    axes={"rlp_lambda": ChoiceAxis(choices=(2.0,), control=0.0)},
    arms=("control", "full"),
    num_seeds=1,
    fixed={
        "lr": 0.1,
        "dataset": "digits",
        "backbone": "mlp",
        "num_epochs": 5,
        "eval_every": 2,
        "train_samples": 200,
    },
)
PLAN = plan_sweep(SPACE, name="study", device="cpu", engine="sequential", group_size=1)
(FULL,) = (trial for trial in PLAN.trials if trial.arm == "full")
CONFIG = TrialConfig(
    **{**FULL.to_dict(), "arm": "replayed", "matched_trajectory": "2 0.5 0"},
)


def rows_of(plan, **changes):
    row = {"status": "completed", "lr_multiplier": 1.5}
    return [{"trial_id": t.trial_id, **row, **changes} for t in plan.trials]


def epochs_of(sums, trial=FULL):
    return [
        {"trial_id": trial.trial_id, "epoch": epoch, "class_grad_sum": c, "trained_grad_sum": t}
        for epoch, (c, t) in zip((2, 4, 5), sums, strict=True)
    ]


def replayed(sums, *, cap=10.0, plan=PLAN, **changes):
    replay = Replay(epochs=epochs_of(sums), cap=cap)
    found = plan_follow_up(plan, rows_of(plan, **changes), matched_to=["full"], replay=replay)
    return found, [trial.matched_trajectory for trial in found.trials if trial.arm == "replayed"]


def test_each_epoch_is_scaled_by_the_number_of_its_interval():
    assert [CONFIG.class_loss_scale(epoch) for epoch in range(1, 6)] == [2, 2, 0.5, 0.5, 0]
    planted = dataclasses.replace(CONFIG, extractor_scale=3.0)
    assert planted.class_loss_scale(3) == 1.5


def test_a_trajectory_is_part_of_the_identity_but_tells_no_groups_apart():
    other = dataclasses.replace(CONFIG, matched_trajectory="2 0.5 1")

    assert other.trial_id != CONFIG.trial_id
    assert other.group_key == CONFIG.group_key == FULL.group_key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matched_trajectory": None}, "must state the κ of the 'full' trials"),
        ({"matched_trajectory": "1 2"}, r"each of the 3 evaluation\(s\)"),
        ({"matched_trajectory": "1 2 3 4"}, r"each of the 3 evaluation\(s\)"),
        ({"matched_trajectory": "1 2 -3"}, "0 <= κ < inf"),
        ({"matched_trajectory": "1 2 inf"}, "0 <= κ < inf"),
        ({"matched_trajectory": "1 2 nan"}, "0 <= κ < inf"),
        ({"matched_trajectory": "1 2 x"}, "got matched_trajectory='1 2 x'"),
        ({"matched_trajectory": "1  2 3"}, "single spaces"),
        ({"matched_trajectory": ""}, "single spaces"),
        ({"arm": "full"}, "`matched_trajectory` belongs to the arms \\['replayed', "),
        ({"arm": "rescaled"}, "`matched_multiplier`"),
        ({"matched_multiplier": 2.0}, "`matched_multiplier` belongs to the arms \\['rescaled', "),
    ],
)
def test_a_trajectory_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_replayed_control_has_the_ratio_of_what_each_interval_added():
    found, trajectories = replayed([(2.0, 4.0), (3.0, 4.5), (4.0, 7.5)])

    assert trajectories == ["2 0.5 3"]
    assert found.multipliers == {"rescaled": (1.5, 1.5), "replayed": (0.5, 3.0)}
    assert found.skipped == ()


@pytest.mark.parametrize(
    ("sums", "expected", "num_cut"),
    [
        ([(1.0, 20.0), (2.0, 19.0), (3.0, 20.0)], "10 0 1", 2),  # beyond the cap, against g_c
        ([(-1.0, 5.0), (1.0, 9.0), (1.0, 12.0)], "2 2 2", 2),  # no class gradient: all noise
    ],
)
def test_an_interval_is_cut_to_the_cap_and_one_without_class_gradient_follows_its_neighbour(
    sums, expected, num_cut
):
    found, trajectories = replayed(sums)

    assert trajectories == [expected]
    (sentence,) = found.skipped
    assert f"κ of {num_cut} of 3 replayed intervals lay outside 0 … 10" in sentence


def test_without_any_class_gradient_or_any_sums_there_is_no_replayed_control():
    lost = [(1.0, 2.0), (math.nan, 3.0), (3.0, 4.0)]
    for sums in ([(-1.0, 1.0), (-2.0, 1.0), (-3.0, 2.0)], [(None, None)] * 3, lost):
        found, trajectories = replayed(sums)
        assert trajectories == []
        assert "get no replayed control: they have no κ between evaluations" in found.skipped[0]


def test_a_trial_that_has_its_replayed_control_gets_no_second_one():
    sums = [(2.0, 4.0), (3.0, 4.5), (4.0, 7.5)]
    found, _ = replayed(sums)
    plan = dataclasses.replace(PLAN, trials=(*PLAN.trials, *found.trials))

    again, trajectories = replayed(sums, plan=plan)

    assert trajectories == []
    assert again.is_empty


@pytest.mark.parametrize("status", ["diverged", "stopped"])
def test_the_kappa_of_a_trial_that_did_not_end_is_not_replayed(status):
    _, trajectories = replayed([(2.0, 4.0), (3.0, 4.5), (4.0, 7.5)], status=status)

    assert trajectories == []


@pytest.mark.parametrize("cap", [0.0, -1.0, float("inf"), float("nan")])
def test_a_cap_is_above_zero(cap):
    with pytest.raises(ArgumentError, match="`0 < cap < inf` must hold"):
        Replay(epochs=[], cap=cap)
