"""Row g, tiny networks: every engine at K = 64 against eager and against graphed training.

*Eager*: K models, one after the other, each step launched operation by operation. *Graphed*: K
models, one after the other, each step of a model a CUDA graph of its own: the engine `graph` with
groups of one.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch

from benchmarks.groups import SEQUENTIAL, Case, Epochs, members_of, time_engines
from benchmarks.networks import MLP, TINY_CNN, WRN_16_1
from benchmarks.options import Options
from benchmarks.table import Goal, Row, rows_of
from benchmarks.timing import medians, paired_ratio
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.engines.graph import GraphedGroup, GraphEngine, Replayable
from rlp_sweeps.training.engines.stacked_group import StackedGroup

GRAPHED = "graphed one by one"

CASES = (
    Case(network=MLP, group_size=64, num_steps=16, gpu_budget_s=24),
    Case(network=TINY_CNN, group_size=64, num_steps=16, gpu_budget_s=24),
    Case(network=WRN_16_1, group_size=16, num_steps=8),
)
QUICK_CASES = (Case(network=MLP, group_size=4), Case(network=TINY_CNN, group_size=4))


def measure_tiny(options: Options) -> Iterator[Row]:
    """Return every engine of every case; goals stand at the fastest on the two smallest networks.

    Raises:
        RuntimeError: At the end: a case could not be measured.
    """
    cases = QUICK_CASES if options.is_quick else CASES
    return rows_of(partial(_measure_case, case, options) for case in cases)


def _measure_case(case: Case, options: Options) -> Iterator[Row]:
    is_tiny = case.network != WRN_16_1
    others = {GRAPHED: _graphed_one_by_one(case, options)} if is_tiny else {}
    seconds = time_engines(case, options, others=others)
    engines = [name for name in seconds if name not in (SEQUENTIAL, GRAPHED)]
    best = min(engines, key=lambda engine: statistics.median(seconds[engine]))
    for engine in engines:
        goal = 20.0 if is_tiny and engine == best else None
        yield _row(case, engine, SEQUENTIAL, seconds, goal)
    if is_tiny:
        yield _row(case, best, GRAPHED, seconds, 3.0)


def _row(
    case: Case, engine: str, base: str, seconds: Mapping[str, Sequence[float]], goal: float | None
) -> Row:
    how = "one by one, each a graph" if base == GRAPHED else "eager, one by one"
    return Row(
        letter="g",
        what=f"{engine}, {case.name}",
        against=f"{case.group_size} separate models, {how}",
        value=paired_ratio(seconds, base, engine),
        measure="times faster",
        goal=None if goal is None else Goal(rule=">=", bound=goal),
        how=f"epoch of all members: {medians(seconds)}",
    )


def _graphed_one_by_one(case: Case, options: Options) -> Callable[[], None]:
    """Return a call that trains every member of a case one epoch, each by its own graph."""
    device = torch.device(options.device)
    engine = GraphEngine if device.type == "cuda" else _ReplayedEngine
    members = [_alone(engine, config, device) for config in members_of(case)]

    def train() -> None:
        for member in members:
            member()

    return train


def _alone(engine: type[GraphEngine], config: TrialConfig, device: torch.device) -> Epochs:
    return Epochs(engine([config], data_dir="data", device=device), device)


class _Replay:
    """A step that is run again in place of a graph, for a dry run on a CPU."""

    def __init__(self, step: Callable[[], None]) -> None:
        self.replay = step


class _ReplayedGroup(GraphedGroup):
    capture: Callable[[Callable[[], None]], Replayable] = _Replay


class _ReplayedEngine(GraphEngine):
    group: ClassVar[type[StackedGroup]] = _ReplayedGroup
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
