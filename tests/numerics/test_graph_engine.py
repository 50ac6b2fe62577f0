"""Captured engines on the CPU: a stand-in replays the step, everything else is the engines'."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, DeviceError
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.engines.branch_extractor import BranchExtractor
from rlp_sweeps.training.engines.captured_extractor import CapturedGroupedExtractor
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.graph import GraphedGroup, GraphEngine, GroupedGraphEngine
from rlp_sweeps.training.engines.layout import StackLayout

CPU = torch.device("cpu")
BASE = TrialConfig(
    arm="full",
    lr=0.02,
    rlp_lambda=1.0,
    seed=1,
    train_samples=48,
    val_samples=16,
    test_samples=32,
    num_epochs=2,
    batch_size=16,
    backbone_width=4,
    num_random_labels=3,
)
MEMBERS = [
    BASE,
    dataclasses.replace(BASE, arm="control", rlp_lambda=0.0),
    dataclasses.replace(BASE, lr=0.05, seed=2),
]


class Replay:
    """A step that is run again in place of a graph."""

    captured: ClassVar[list["Replay"]] = []

    def __init__(self, step: Callable[[], None]) -> None:
        self.replay = step
        self.captured.append(self)


class ReplayedGroup(GraphedGroup):
    capture = Replay


class ReplayedEngine(GraphEngine):
    group = ReplayedGroup
    devices = ("cpu",)


class ReplayedGroupedEngine(GroupedGraphEngine):
    group = ReplayedGroup
    devices = ("cpu",)


REPLAYED = pytest.mark.parametrize("engine", [ReplayedEngine, ReplayedGroupedEngine])


@pytest.fixture(autouse=True)
def _no_captures() -> None:
    Replay.captured.clear()


@pytest.mark.parametrize("engine", ["graph", "grouped_graph"])
def test_captured_engines_refuse_a_cpu(engine: str) -> None:
    with pytest.raises(DeviceError, match=f"'{engine}' needs a CUDA device, but got 'cpu'"):
        get_engine(engine)([BASE], data_dir="", device=CPU)


@REPLAYED
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adamw"},
        {"mixup_alpha": 0.4},
        {"augmentation": "crop", "num_views": 2, "view_labels": "random", "label_corruption": 0.1},
        {"attach_points": "conv1,linear", "observed_attach_points": "all"},
    ],
    ids=str,
)
def test_a_replayed_step_trains_what_a_plain_one_does(
    settings: dict[str, Any], engine: type[GraphEngine]
) -> None:
    members = [dataclasses.replace(member, **settings) for member in MEMBERS]
    plain = get_engine("sequential")(members, data_dir="", device=CPU)
    replayed = engine(members, data_dir="", device=CPU)

    for epoch in (1, 2):
        expected = plain.advance(epoch, evaluates=True)
        outcomes = replayed.advance(epoch, evaluates=True)

    for member in members:
        outcome = outcomes[member.trial_id]
        assert outcome.error is None
        assert outcome.step_loss == pytest.approx(expected[member.trial_id].step_loss, rel=1e-4)
        kappa = expected[member.trial_id].metrics["lr_multiplier"]
        assert outcome.metrics["lr_multiplier"] == pytest.approx(kappa, rel=1e-3)
    assert len(Replay.captured) == 1


@REPLAYED
def test_the_step_is_captured_again_after_a_member_ended(engine: type[GraphEngine]) -> None:
    cut = engine(MEMBERS, data_dir="", device=CPU)
    whole = engine(MEMBERS, data_dir="", device=CPU)
    for trained in (cut, whole):
        trained.advance(1, evaluates=False)
    cut.drop(MEMBERS[0].trial_id)

    left, expected = cut.advance(2, evaluates=True), whole.advance(2, evaluates=True)

    assert len(Replay.captured) == 3
    for trial_id, outcome in left.items():
        assert outcome.step_loss == pytest.approx(expected[trial_id].step_loss, rel=1e-5)


@REPLAYED
def test_a_captured_dropout_is_refused(engine: type[GraphEngine]) -> None:
    dropped = dataclasses.replace(BASE, dropout=0.2)

    outcome = engine([dropped], data_dir="", device=CPU).advance(1, evaluates=False)

    refusal = f"engine '{engine.name}' takes extractors without dropout"
    assert refusal in str(outcome[dropped.trial_id].error)


@pytest.mark.parametrize("stack", [BranchExtractor, CapturedGroupedExtractor])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_warm_up_and_capture_leave_every_bit(optimizer: str, stack: type[StackedExtractor]) -> None:
    config = dataclasses.replace(BASE, optimizer=optimizer, weight_decay=0.1)
    data = {config.seed: split_dataset(config, data_dir="", device=CPU)}
    group = ReplayedGroup([config], data, CPU, stack=stack)
    before = [tensor.clone() for tensor in group._trained_tensors()]

    group._captured(next(group._data.batches(1)))

    assert all(map(torch.equal, before, group._trained_tensors()))
    assert all(p.grad is None for p in group._network.parameters())


def break_capture(step: Callable[[], None]) -> Replay:
    """Fail twice, as torch does: in the step, then at the end of the capture."""
    try:
        msg = "operation not permitted when stream is capturing\nSearch for it"
        raise RuntimeError(msg)
    finally:
        msg = "operation failed due to a previous error during capture"
        raise RuntimeError(msg)


def test_a_step_that_cannot_be_captured_refuses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplayedGroup, "capture", staticmethod(break_capture))
    engine = ReplayedEngine([BASE], data_dir="", device=CPU)

    trace = str(engine.advance(1, evaluates=False)[BASE.trial_id].error)

    assert trace.rstrip().splitlines()[-1] == (
        f"{BackboneError.__module__}.BackboneError: engine 'graph' takes extractors whose step can "
        "be captured, but this one raised 'operation not permitted when stream is capturing'; use "
        "engine 'grouped', 'vmap' or 'sequential'."
    )


class WaitingGroup(ReplayedGroup):
    """Its third step waits for the device, as torch says where that is forbidden."""

    num_steps = 0

    def _run_step(self) -> None:
        self.num_steps += 1
        if self.num_steps == 3:
            msg = "called a synchronizing CUDA operation"
            raise RuntimeError(msg)
        super()._run_step()


@REPLAYED
def test_a_step_that_waits_for_the_device_is_refused_before_a_capture(
    engine: type[GraphEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "group", WaitingGroup)

    outcome = engine([BASE], data_dir="", device=CPU).advance(1, evaluates=False)

    trace = str(outcome[BASE.trial_id].error)
    assert f"BackboneError: engine '{engine.name}' takes extractors whose step can be" in trace
    assert "raised 'called a synchronizing CUDA operation'; use engine" in trace
    assert not Replay.captured


class Reader(torch.nn.Module):
    """Remembers the images that it was given."""

    read: ClassVar[list[torch.Tensor]] = []

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        self.read.append(images_NCHW)
        return images_NCHW.flatten(1)


def test_branches_read_the_images_of_their_seed_in_the_layouts_format() -> None:
    layout = StackLayout((2, 1), memory_format=torch.channels_last)
    stack = BranchExtractor(
        [Reader() for _ in range(3)], layout, image_shape=(3, 4, 4), verify=False
    )
    Reader.read.clear()
    images_SNCHW = torch.arange(2 * 5 * 3 * 4 * 4.0).view(2, 5, 3, 4, 4)

    stack(images_SNCHW)

    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in Reader.read)
    assert [int(torch.equal(x, images_SNCHW[1])) for x in Reader.read] == [0, 0, 1]
