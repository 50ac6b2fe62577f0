"""The loop over a group: rows, statuses, and resuming bit by bit."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError, ConfigError, DeviceError
from rlp_sweeps.schema import EPOCHS, TRIALS
from rlp_sweeps.training.loop import (
    GroupContext,
    GroupProgress,
    TrainingPaused,
    TrialResult,
    train_group,
)

CONTROL = TrialConfig(
    arm="control",
    lr=0.05,
    rlp_lambda=0.0,
    seed=1,
    train_samples=96,
    val_samples=32,
    test_samples=64,
    num_epochs=4,
    batch_size=32,
    dropout=0.2,
    augmentation="crop",
    eval_every=2,
    num_random_labels=4,
)
SHAM = dataclasses.replace(CONTROL, arm="sham", rlp_lambda=2.0)
CONTEXT = GroupContext(group_id="g", data_dir="")
TIMES = {"wall_time_s", "started_at_ms", "finished_at_ms", "epoch_time_s", "logged_at_ms"}


def go_on(progress: GroupProgress) -> tuple[str, ...]:
    assert progress.epoch <= progress.num_epochs
    return ()


class Seen(list[GroupProgress]):
    """Every report of a group, in order; stops members where told so."""

    def __init__(self, stops: Mapping[int, Sequence[TrialConfig]] | None = None) -> None:
        super().__init__()
        self.stops = stops or {}

    def __call__(self, progress: GroupProgress) -> list[str]:
        self.append(progress)
        return [config.trial_id for config in self.stops.get(progress.epoch, ())]


def numbers(results: list[TrialResult]) -> list[object]:
    """Everything but clocks, by trial."""
    ordered = sorted(results, key=lambda result: result.trial["trial_id"])
    rows = [row for result in ordered for row in (result.trial, *result.epochs)]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def test_a_group_returns_one_row_a_trial_and_one_a_evaluation() -> None:
    results = train_group([CONTROL, SHAM], context=CONTEXT, report=go_on)

    assert [r.trial["status"] for r in results] == ["completed", "completed"]
    assert [[row["epoch"] for row in r.epochs] for r in results] == [[2, 4], [2, 4]]
    assert [[row["step"] for row in r.epochs] for r in results] == [[6, 12], [6, 12]]


def test_a_row_tells_lambda_per_label_of_single_heads_alone() -> None:
    configs = [dataclasses.replace(SHAM, head=head, num_epochs=1) for head in ("single", SHAM.head)]

    results = [train_group([config], context=CONTEXT, report=go_on)[0] for config in configs]

    assert [result.trial["rlp_lambda_per_label"] for result in results] == [0.5, None]


def test_more_random_labels_than_samples_are_recalled_far_above_one_a_class() -> None:
    config = dataclasses.replace(
        CONTROL, backbone="mlp", num_random_labels=200, num_epochs=40, dropout=0.0, eval_every=40
    )

    (result,) = train_group([config], context=CONTEXT, report=go_on)

    floor = 10 / 96  # one sample of each class
    assert result.trial["memorization"] > 5 * floor


def test_rows_hold_only_columns_of_the_schema() -> None:
    (result,) = train_group([SHAM], context=CONTEXT, report=go_on)

    assert set(result.trial) <= {column.name for column in TRIALS}
    assert set(result.epochs[0]) <= {column.name for column in EPOCHS}
    assert {c.name for c in TRIALS if c.required} <= set(result.trial)


def test_a_trials_numbers_do_not_depend_on_its_group() -> None:
    together = train_group([CONTROL, SHAM], context=CONTEXT, report=go_on)
    alone = [train_group([config], context=CONTEXT, report=go_on)[0] for config in (SHAM, CONTROL)]

    assert numbers(together) == numbers(alone)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_group_resumed_from_its_checkpoint_equals_an_undisturbed_one_bit_by_bit(
    tmp_path: Path, optimizer: str
) -> None:
    configs = [dataclasses.replace(c, optimizer=optimizer) for c in (CONTROL, SHAM)]
    context = dataclasses.replace(
        CONTEXT, checkpoint_path=tmp_path / "g.pt", checkpoint_interval_s=0.0
    )

    def die_in_epoch_3(progress: GroupProgress) -> tuple[str, ...]:
        if progress.epoch == 3:
            raise KeyboardInterrupt
        return ()

    with pytest.raises(KeyboardInterrupt):
        train_group(configs, context=context, report=die_in_epoch_3)
    seen = Seen()
    resumed = train_group(configs, context=context, report=seen)

    undisturbed = train_group(configs, context=CONTEXT, report=go_on)
    assert [progress.epoch for progress in seen] == [3, 4]
    assert numbers(resumed) == numbers(undisturbed)


def test_members_that_are_done_need_not_be_in_the_resumed_group(tmp_path: Path) -> None:
    context = dataclasses.replace(
        CONTEXT, checkpoint_path=tmp_path / "g.pt", checkpoint_interval_s=0.0
    )
    with pytest.raises(ZeroDivisionError):
        train_group(
            [CONTROL, SHAM], context=context, report=lambda p: [] if p.epoch < 2 else [str(1 / 0)]
        )

    resumed = train_group([SHAM], context=context, report=go_on)

    assert numbers(resumed) == numbers(train_group([SHAM], context=CONTEXT, report=go_on))


def test_members_that_the_checkpoint_does_not_know_start_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "g.pt"
    context = dataclasses.replace(CONTEXT, checkpoint_path=path)
    with pytest.raises(TrainingPaused):
        train_group([CONTROL], context=context, report=go_on, pauses=lambda: True)
    seen = Seen()

    whole = train_group([CONTROL, SHAM], context=context, report=seen)

    assert [progress.epoch for progress in seen] == [2, 3, 4, 1, 2, 3, 4]
    assert numbers(whole) == numbers(train_group([CONTROL, SHAM], context=CONTEXT, report=go_on))


def test_a_paused_group_goes_on_from_the_epoch_it_was_paused_in(tmp_path: Path) -> None:
    context = dataclasses.replace(CONTEXT, checkpoint_path=tmp_path / "g.pt")
    answers = iter([False, True])
    with pytest.raises(TrainingPaused):
        train_group([CONTROL, SHAM], context=context, report=go_on, pauses=lambda: next(answers))
    seen = Seen()

    resumed = train_group([CONTROL, SHAM], context=context, report=seen)

    assert [progress.epoch for progress in seen] == [3, 4]
    assert numbers(resumed) == numbers(train_group([CONTROL, SHAM], context=CONTEXT, report=go_on))


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.pt"
    path.write_bytes(b"PK\x03\x04 half")
    context = dataclasses.replace(CONTEXT, checkpoint_path=path)

    with pytest.raises(CheckpointError, match="delete it to train from the start"):
        train_group([CONTROL], context=context, report=go_on)


def test_a_checkpoint_of_another_group_is_refused(tmp_path: Path) -> None:
    context = dataclasses.replace(
        CONTEXT, checkpoint_path=tmp_path / "g.pt", checkpoint_interval_s=0.0
    )
    train_group([CONTROL], context=context, report=go_on)

    with pytest.raises(CheckpointError, match="must hold members of its group"):
        train_group([SHAM], context=context, report=go_on)


def test_a_diverging_trial_ends_with_its_last_finite_epoch_and_spares_its_neighbour() -> None:
    wild = dataclasses.replace(CONTROL, lr=1e30)

    results = {
        r.trial["trial_id"]: r.trial
        for r in train_group([CONTROL, wild], context=CONTEXT, report=go_on)
    }

    assert results[wild.trial_id]["status"] == "diverged"
    assert results[wild.trial_id]["metrics_epoch"] is None
    assert "training loss was nan in epoch" in results[wild.trial_id]["error"]
    assert results[CONTROL.trial_id]["status"] == "completed"
    assert math.isfinite(results[CONTROL.trial_id]["test_loss"])


def test_a_trial_that_raises_is_a_failed_row_with_its_trace_and_spares_its_neighbour() -> None:
    broken = [dataclasses.replace(c, backbone=f"{__name__}.fragile_backbone") for c in (CONTROL,)]

    (result,) = train_group(broken, context=CONTEXT, report=go_on)

    assert result.trial["status"] == "failed"
    assert "RuntimeError: planted" in result.trial["error"]
    assert result.trial["test_accuracy"] is None


def fragile_backbone(**settings: object) -> torch.nn.Module:
    raise RuntimeError("planted")


def test_members_that_are_stopped_keep_their_newest_evaluation() -> None:
    stops = Seen({3: [CONTROL, SHAM]})

    results = train_group([CONTROL, SHAM], context=CONTEXT, report=stops)

    assert [r.trial["status"] for r in results] == ["stopped", "stopped"]
    assert [r.trial["epochs_completed"] for r in results] == [3, 3]
    assert [r.trial["metrics_epoch"] for r in results] == [2, 2]


def test_progress_names_new_rows_and_who_goes_on() -> None:
    seen = Seen()

    train_group([CONTROL], context=CONTEXT, report=seen)

    new_rows = [len(p.new_rows[CONTROL.trial_id]) for p in seen]
    assert new_rows == [0, 1, 0, 1]
    assert [len(p.live) for p in seen] == [1, 1, 1, 0]
    assert [CONTROL.trial_id in p.latest for p in seen] == [False, True, True, True]


def test_trials_that_share_more_than_scalars_only_in_part_are_no_group() -> None:
    other = dataclasses.replace(CONTROL, num_epochs=5)

    with pytest.raises(ConfigError, match="split them by `group_key`"):
        train_group([CONTROL, other], context=CONTEXT, report=go_on)


@pytest.mark.parametrize("configs", [[], [CONTROL, CONTROL]])
def test_a_group_without_trials_or_with_twins_is_refused(configs: list[TrialConfig]) -> None:
    with pytest.raises(ConfigError, match="at least one trial and no two alike"):
        train_group(configs, context=CONTEXT, report=go_on)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is absent")
def test_a_device_that_torch_does_not_see_is_refused() -> None:
    context = dataclasses.replace(CONTEXT, device="cuda:0")

    with pytest.raises(DeviceError, match="torch sees none"):
        train_group([CONTROL], context=context, report=go_on)


def test_an_unknown_engine_is_refused() -> None:
    context = dataclasses.replace(CONTEXT, engine="warp")

    with pytest.raises(ConfigError, match="unknown engine 'warp'"):
        train_group([CONTROL], context=context, report=go_on)


def test_a_network_whose_last_step_blew_it_up_is_diverged_not_completed() -> None:
    """The training loss before the step was finite; argmax over NaN would look like chance."""
    wild = dataclasses.replace(
        CONTROL, lr=1e38, num_epochs=1, batch_size=96, eval_every=1, schedule="constant"
    )

    (result,) = train_group([wild], context=CONTEXT, report=go_on)

    assert result.trial["status"] == "diverged"
    assert result.trial["test_accuracy"] is None
    assert result.epochs == []
    assert "not all finite" in result.trial["error"]


def test_heads_that_blew_up_are_no_reading_of_memorization() -> None:
    dead_meter = dataclasses.replace(CONTROL, head_lr=3e38, schedule="constant", eval_every=4)

    (result,) = train_group([dead_meter], context=CONTEXT, report=go_on)

    assert result.trial["status"] == "diverged"
    assert result.trial["memorization"] is None
