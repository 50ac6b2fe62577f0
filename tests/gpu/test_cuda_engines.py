"""Engines on the device: graphs, flat optimizers, probes, and groups that do not fit."""

import dataclasses
from typing import ClassVar

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import ENGINES, get_engine
from rlp_sweeps.training.engines.branch_extractor import BranchExtractor
from rlp_sweeps.training.engines.capture import capture_on_cuda, no_synchronization
from rlp_sweeps.training.engines.captured_extractor import CapturedGroupedExtractor
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.graph import GraphedGroup, GraphEngine, GroupedGraphEngine
from rlp_sweeps.training.engines.probing import Prober
from rlp_sweeps.training.engines.stacked_group import StackedGroup
from rlp_sweeps.training.loop import GroupContext, train_group

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
    pytest.mark.usefixtures("full_float32"),
]

CUDA = torch.device("cuda")
MLP = TrialConfig(
    arm="full",
    lr=0.02,
    rlp_lambda=1.0,
    seed=0,
    dataset="synthetic:1,8,8,10,1024",
    backbone="mlp",
    backbone_width=32,
    batch_size=32,
    num_epochs=2,
)
WIDE = dataclasses.replace(
    MLP,
    dataset="synthetic:3,32,32,10,1024",
    backbone="wide_resnet",
    backbone_depth=10,
    backbone_width=1,
    batch_size=256,
)
CAPTURED = pytest.mark.parametrize("engine", ["graph", "grouped_graph"])
STACKED = pytest.mark.parametrize("engine", [name for name in ENGINES if name != "sequential"])


def members_of(config: TrialConfig) -> list[TrialConfig]:
    return [
        config,
        dataclasses.replace(config, lr=0.01, momentum=0.5, weight_decay=0.1),
        dataclasses.replace(config, arm="control", rlp_lambda=0.0, seed=1),
    ]


def train(engine: str, members: list[TrialConfig]) -> list[dict[str, float | None]]:
    trained = get_engine(engine)(members, data_dir="", device=CUDA)
    trained.advance(1, evaluates=False)
    outcomes = trained.advance(2, evaluates=True)
    assert not [o.error for o in outcomes.values() if o.error]
    return [outcomes[config.trial_id].metrics for config in members]


@STACKED
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_flat_optimizers_train_every_member_at_its_own_rates(engine: str, optimizer: str) -> None:
    members = members_of(dataclasses.replace(MLP, optimizer=optimizer, lr=0.005))

    for expected, metrics in zip(train("sequential", members), train(engine, members), strict=True):
        for name in ("train_loss", "head_loss", "lr_multiplier"):
            assert metrics[name] == pytest.approx(expected[name], rel=0.01), name


@STACKED
def test_bf16_members_follow_the_sequential_ones(engine: str) -> None:
    members = members_of(dataclasses.replace(WIDE, precision="bf16"))

    for expected, metrics in zip(train("sequential", members), train(engine, members), strict=True):
        assert metrics["train_loss"] == pytest.approx(expected["train_loss"], rel=0.05)


@pytest.mark.parametrize("stack", [BranchExtractor, CapturedGroupedExtractor])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_warm_up_and_capture_leave_every_bit(optimizer: str, stack: type[StackedExtractor]) -> None:
    config = dataclasses.replace(WIDE, optimizer=optimizer, weight_decay=0.1)
    data = {0: split_dataset(config, data_dir="", device=CUDA)}
    group = GraphedGroup([config], data, CUDA, stack=stack)
    before = [tensor.clone() for tensor in group._trained_tensors()]

    graph = group._captured(next(group._data.batches(1)))
    torch.cuda.synchronize()

    assert all(map(torch.equal, before, group._trained_tensors()))
    group._factor.fill_(1.0)
    graph.replay()
    assert not all(map(torch.equal, before, group._trained_tensors()))


@CAPTURED
def test_replays_give_the_same_bits_twice(engine: str) -> None:
    """Branches that raced for memory would not."""
    members = [dataclasses.replace(MLP, lr=0.001 * (1 + i)) for i in range(16)]

    first, second = train(engine, members), train(engine, members)

    assert [m["train_loss"] for m in first] == [m["train_loss"] for m in second]


@pytest.mark.parametrize("engine", ["grouped", "graph", "grouped_graph"])
def test_a_groups_step_reads_nothing_back_from_the_device(engine: str) -> None:
    trained = get_engine(engine)(members_of(MLP), data_dir="", device=CUDA)
    trained.advance(1, evaluates=False)
    group: StackedGroup = trained._group
    batch = next(group._data.batches(2))
    with no_synchronization():
        group._train_step(batch)


class ReadingGroup(GraphedGroup):
    """Reads a number back in every step, as a user's network may."""

    def _run_step(self) -> None:
        super()._run_step()
        self._loss_M[0].item()


class ReadingEngine(GraphEngine):
    group: ClassVar[type[StackedGroup]] = ReadingGroup


class ReadingGroupedEngine(GroupedGraphEngine):
    group: ClassVar[type[StackedGroup]] = ReadingGroup


@pytest.mark.parametrize("engine", [ReadingEngine, ReadingGroupedEngine])
def test_a_step_that_cannot_be_captured_is_refused_and_harms_nothing(
    engine: type[GraphEngine],
) -> None:
    outcome = engine([MLP], data_dir="", device=CUDA).advance(1, evaluates=False)

    assert "takes extractors whose step can be captured" in str(outcome[MLP.trial_id].error)
    assert torch.cuda.get_sync_debug_mode() == 0
    assert train(engine.name, [MLP])[0]["train_loss"] is not None


def test_a_capture_that_breaks_gives_back_its_stream_and_its_memory() -> None:
    ones = torch.ones(2**20, device=CUDA)
    torch.cuda.empty_cache()
    stream, reserved = torch.cuda.current_stream(), torch.cuda.memory_reserved()

    with pytest.raises(RuntimeError, match="captur"):
        capture_on_cuda(lambda: print((ones * 2).sum().item()))

    torch.cuda.empty_cache()
    assert torch.cuda.current_stream() == stream
    assert torch.cuda.memory_reserved() == reserved
    assert torch.equal(torch.ones_like(ones), ones)
    doubled = torch.zeros_like(ones)
    graph = capture_on_cuda(lambda: doubled.add_(ones))
    graph.replay()
    graph.replay()
    assert int(doubled.sum()) == 2 * len(ones)


@pytest.mark.parametrize("engine", ENGINES)
def test_prober_times_an_engine_and_its_memory(engine: str) -> None:
    probe = Prober(data_dir="", device=CUDA).probe(WIDE, engine=engine, group_size=3)

    assert probe.reason is None
    assert probe.step_s > 0
    assert probe.peak_memory_bytes is not None
    assert probe.peak_memory_bytes > 0


@pytest.mark.parametrize("engine", ["grouped", "graph", "grouped_graph"])
def test_a_group_that_does_not_fit_is_trained_in_halves(engine: str) -> None:
    members = [dataclasses.replace(WIDE, lr=1e-3 * (1 + i), eval_every=2) for i in range(8)]
    peak = Prober(data_dir="", device=CUDA).probe(WIDE, engine=engine, group_size=8)
    assert peak.peak_memory_bytes is not None
    total = torch.cuda.get_device_properties(CUDA).total_memory
    sizes: list[int] = []
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.7 * peak.peak_memory_bytes / total)
    try:
        results = train_group(
            members,
            context=GroupContext(group_id="g", data_dir="", device="cuda", engine=engine),
            report=lambda progress: sizes.append(len(progress.live)) or (),
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert {result.trial["status"] for result in results} == {"completed"}
    assert max(sizes) < len(members)
