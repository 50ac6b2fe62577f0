"""A group that grows smaller: members that are stopped, and memory that runs out."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training import samples
from rlp_sweeps.training.engines import ENGINES, EpochOutcome, SequentialEngine
from rlp_sweeps.training.loop import GroupContext, GroupProgress, TrialResult, train_group

BASE = TrialConfig(
    arm="control",
    lr=0.05,
    rlp_lambda=0.0,
    seed=1,
    train_samples=64,
    val_samples=32,
    test_samples=32,
    num_epochs=4,
    batch_size=32,
)
FOUR = [dataclasses.replace(BASE, lr=lr) for lr in (0.01, 0.02, 0.05, 0.1)]
IDS = [config.trial_id for config in FOUR]
TIMES = {"wall_time_s", "started_at_ms", "finished_at_ms", "epoch_time_s", "logged_at_ms"}


class SmallMemory(SequentialEngine):
    """Finds memory for two members at most from `since` on, and counts the epochs of each."""

    name = "small_memory"
    most = 2
    since = 1
    counts: ClassVar[Counter[str]] = Counter()
    groups: ClassVar[list[list[str]]] = []

    def advance(self, epoch: int, *, evaluates: bool) -> dict[str, EpochOutcome]:
        """Train one epoch, unless there are too many members."""
        if len(self._configs) > self.most and epoch >= self.since:
            raise torch.OutOfMemoryError("planted: no memory")
        outcomes = super().advance(epoch, evaluates=evaluates)
        self.counts.update(list(outcomes))
        self.groups.append(list(outcomes))
        return outcomes


class TalkingMemory(SmallMemory):
    """Says of one member that there is no memory, instead of raising."""

    def advance(self, epoch: int, *, evaluates: bool) -> dict[str, EpochOutcome]:
        """Train one epoch, unless there are too many members."""
        try:
            return super().advance(epoch, evaluates=evaluates)
        except torch.OutOfMemoryError as error:
            first, *others = self._configs
            trace = f"Traceback\n  File\ntorch.OutOfMemoryError: {error}"
            fine = {trial_id: EpochOutcome(step_loss=1.0) for trial_id in others}
            return {first: EpochOutcome(step_loss=1.0, error=trace), **fine}


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[SmallMemory]]:
    def plant(kind: type[SmallMemory] = SmallMemory, **limits: int) -> type[SmallMemory]:
        settings: dict[str, Any] = {"counts": Counter(), "groups": [], **limits}
        engine = type("Planted", (kind,), settings)
        monkeypatch.setitem(ENGINES, "small_memory", engine)
        return engine

    return plant


def context(path: Path | None = None, engine: str = "small_memory") -> GroupContext:
    return GroupContext(
        group_id="g", data_dir="", engine=engine, checkpoint_path=path, checkpoint_interval_s=0.0
    )


def go_on(progress: GroupProgress) -> Sequence[str]:
    return ()


def numbers(results: list[TrialResult]) -> list[object]:
    """Everything but clocks and the engine's name, by trial."""
    ordered = sorted(results, key=lambda result: result.trial["trial_id"])
    rows = [row for result in ordered for row in (result.trial, *result.epochs)]
    return [{k: v for k, v in row.items() if k not in {*TIMES, "engine"}} for row in rows]


UNDISTURBED = context(engine="sequential")


def test_stopped_members_are_not_trained_any_further_and_spare_their_neighbours(
    small_memory: Callable[..., type[SmallMemory]],
) -> None:
    engine = small_memory(most=4)

    results = train_group(
        FOUR, context=context(), report=lambda p: IDS[:1] if p.epoch == 2 else IDS[1:2]
    )

    assert engine.counts == {IDS[0]: 2, IDS[1]: 1, IDS[2]: 4, IDS[3]: 4}
    statuses = {r.trial["trial_id"]: r.trial["status"] for r in results}
    assert statuses == dict(zip(IDS, ["stopped", "stopped", "completed", "completed"], strict=True))
    left = [r for r in results if r.trial["status"] == "completed"]
    assert numbers(left) == numbers(train_group(FOUR[2:], context=UNDISTURBED, report=go_on))


def test_ended_members_are_recorded_before_a_checkpoint_lacks_them(tmp_path: Path) -> None:
    path = tmp_path / "g.pt"
    recorded: list[tuple[str, list[str]]] = []

    def record(result: TrialResult) -> None:
        parts = torch.load(path, weights_only=True)["parts"] if path.exists() else []
        held = [trial_id for part in parts for trial_id in part["members"]]
        recorded.append((result.trial["trial_id"], held))

    train_group(
        FOUR[:2],
        context=context(path, "sequential"),
        report=lambda p: IDS[:1] if p.epoch == 2 else (),
        record=record,
    )

    assert recorded == [(IDS[0], IDS[:2]), (IDS[1], IDS[1:2])]


@pytest.mark.parametrize("kind", [SmallMemory, TalkingMemory])
@pytest.mark.parametrize("since", [1, 3])
@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_a_group_without_memory_goes_on_in_halves_with_the_same_numbers(
    small_memory: Callable[..., type[SmallMemory]],
    tmp_path: Path,
    kind: type[SmallMemory],
    since: int,
    with_checkpoint: bool,
) -> None:
    engine = small_memory(kind, since=since)
    recorded: list[TrialResult] = []

    results = train_group(
        FOUR,
        context=context(tmp_path / "g.pt" if with_checkpoint else None),
        report=go_on,
        record=recorded.append,
    )

    again = 0 if with_checkpoint else since - 1
    assert engine.counts == dict.fromkeys(IDS, 4 + again)
    assert engine.groups[-1] == IDS[2:]
    assert recorded == results
    assert numbers(results) == numbers(train_group(FOUR, context=UNDISTURBED, report=go_on))


def test_members_that_ended_before_memory_ran_out_are_not_trained_again(
    small_memory: Callable[..., type[SmallMemory]],
) -> None:
    engine = small_memory(since=2)

    results = train_group(FOUR, context=context(), report=lambda p: IDS[:1] if p.epoch == 1 else ())

    assert engine.counts == {IDS[0]: 1, **dict.fromkeys(IDS[1:], 5)}
    assert [r.trial["trial_id"] for r in results].count(IDS[0]) == 1
    assert len(results) == 4


def test_a_member_that_finds_no_memory_alone_has_failed(
    small_memory: Callable[..., type[SmallMemory]],
) -> None:
    small_memory(most=0)

    results = train_group(FOUR[:2], context=context(), report=go_on)

    assert [r.trial["status"] for r in results] == ["failed", "failed"]
    assert all("planted: no memory" in r.trial["error"] for r in results)
    assert [r.trial["epochs_completed"] for r in results] == [0, 0]


@pytest.mark.parametrize("killed_at", [2, 3, 4, 5])
def test_halves_are_resumed_from_their_own_epochs(
    small_memory: Callable[..., type[SmallMemory]], tmp_path: Path, killed_at: int
) -> None:
    """Reports: epochs 1 and 2 of all, then 3 and 4 of one half, then 3 and 4 of the other."""
    engine = small_memory(since=3)
    recorded: list[TrialResult] = []
    reports: list[GroupProgress] = []

    def die(progress: GroupProgress) -> Sequence[str]:
        reports.append(progress)
        if len(reports) == killed_at:
            raise KeyboardInterrupt
        return ()

    here = context(tmp_path / "g.pt")
    with pytest.raises(KeyboardInterrupt):
        train_group(FOUR, context=here, report=die, record=recorded.append)
    done = {result.trial["trial_id"] for result in recorded}
    left = [config for config in FOUR if config.trial_id not in done]
    recorded += train_group(left, context=here, report=go_on) if left else []

    assert all(count <= 5 for count in engine.counts.values())
    assert numbers(recorded) == numbers(train_group(FOUR, context=UNDISTURBED, report=go_on))


@pytest.mark.parametrize("reads", ["online_rows", "network_state"])
def test_memory_that_runs_out_while_a_member_is_read_halves_the_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reads: str
) -> None:
    observed = [dataclasses.replace(config, observed_attach_points="all") for config in FOUR]
    ids = [config.trial_id for config in observed]

    def read(engine: SequentialEngine, trial_id: str) -> Any:
        if trial_id == ids[1] and len(engine._configs) > 1:
            raise torch.OutOfMemoryError("planted: no memory")
        return getattr(SequentialEngine, reads)(engine, trial_id)

    monkeypatch.setitem(
        ENGINES, "small_memory", type("Reading", (SequentialEngine,), {reads: read})
    )
    keeping = dataclasses.replace(context(), weights_folder=tmp_path)

    results = train_group(observed, context=keeping, report=go_on)

    assert Counter(r.trial["trial_id"] for r in results) == Counter(ids)
    assert numbers(results) == numbers(train_group(observed, context=UNDISTURBED, report=go_on))
    assert all(len(r.probes) == len(results[0].probes) > 1 for r in results)


def test_a_member_that_cannot_be_read_has_failed_and_the_others_have_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(weights: Any, **options: Any) -> Any:
        if weights.config.trial_id == IDS[1]:
            raise ZeroDivisionError("by zero")
        return ()

    monkeypatch.setattr(samples, "sample_blocks", broken)
    keeping = dataclasses.replace(UNDISTURBED, keeps_samples=True)

    results = train_group(FOUR, context=keeping, report=go_on)

    ends = {r.trial["trial_id"]: (r.trial["status"], r.trial["error"]) for r in results}
    assert [ends[i][0] for i in IDS] == ["completed", "failed", "completed", "completed"]
    assert "ZeroDivisionError: by zero" in ends[IDS[1]][1]


def test_an_error_that_does_not_tell_of_memory_goes_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(SequentialEngine):
        def advance(self, epoch: int, *, evaluates: bool) -> dict[str, EpochOutcome]:
            raise RuntimeError("shapes do not go together")

    monkeypatch.setitem(ENGINES, "small_memory", Broken)

    with pytest.raises(RuntimeError, match="shapes do not go together"):
        train_group(FOUR, context=context(), report=go_on)
