"""Row c: K trials as one group against K separate models, through the interface that the loop uses.

One call trains every member one epoch: steps, augmentation, measured multipliers, no evaluation.
The engine `sequential` trains the members one after the other, each as if it were alone, without
any cost of processes: the fair picture of K separate models. All engines of a case live in one
process and take turns. Members differ in arm and learning rate and share seed and data, as the
trials that a sweep plans together do. `chosen` is the engine that the planner picks for so many
such trials from its stored calibration (on CUDA: from its probes), whose own few cases leave what
row g measures to it.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from benchmarks.networks import (
    MLP,
    NETWORKS,
    SMALL_CNN,
    TINY_CNN,
    WRN_16_1,
    WRN_16_4,
    build_config,
    wait_for,
)
from benchmarks.options import GPU_BUDGET_S, Options
from benchmarks.table import Goal, Row, rows_of
from benchmarks.timing import interleave, medians, paired_ratio
from rlp_sweeps.arms import MAIN_ARMS
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import load_image_arrays
from rlp_sweeps.training.engines import ENGINES, Engine, GraphEngine, get_engine
from rlp_sweeps.training.memory import free_memory, keep_freed_memory

SEQUENTIAL = "sequential"
NUM_EPOCHS = 10_000
"""Planned length of the trainings; none comes near its end."""


_ONLY_ON_CUDA = tuple(name for name, kind in ENGINES.items() if issubclass(kind, GraphEngine))


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A network at one group size.

    Attributes:
        network: One of `NETWORKS`.
        group_size: K.
        batch_size: In place of the network's own; None keeps it.
        num_steps: Steps of an epoch; None: as many as the data give.
        precision: ``fp32`` or ``bf16``.
        settings: Of the trials, in place of the network's own.
        gpu_budget_s: Seconds after which no further round starts on a GPU.
        goal: Least speed-up of `grouped`; None where none is stated.
        engines: Engines that take turns.
    """

    network: str
    group_size: int
    batch_size: int | None = None
    num_steps: int | None = None
    precision: str = "fp32"
    settings: Mapping[str, Any] = field(default_factory=dict)
    gpu_budget_s: float = GPU_BUDGET_S
    goal: float | None = None
    engines: Sequence[str] = tuple(ENGINES)

    @property
    def name(self) -> str:
        """Network, batch size where it is another one, and K."""
        batch = "" if self.batch_size is None else f" (here batch {self.batch_size})"
        return f"{self.network}{batch}, group of {self.group_size}"


CASES = (
    Case(network=MLP, group_size=4),
    Case(network=MLP, group_size=16, goal=7.0),
    Case(network=MLP, group_size=64),
    Case(network=TINY_CNN, group_size=4),
    Case(network=TINY_CNN, group_size=16, goal=4.5),
    Case(network=TINY_CNN, group_size=64),
    Case(network=SMALL_CNN, group_size=16),
    Case(network=WRN_16_1, group_size=4, batch_size=16, num_steps=2),
    Case(network=WRN_16_1, group_size=16, batch_size=16, num_steps=1),
    Case(network=WRN_16_4, group_size=4, batch_size=16, num_steps=1),
    Case(
        network=WRN_16_4,
        group_size=16,
        batch_size=16,
        num_steps=1,
        engines=(SEQUENTIAL, "grouped"),
    ),
)
CUDA_CASES = (
    Case(network=MLP, group_size=16, num_steps=16),
    Case(network=TINY_CNN, group_size=16, num_steps=16),
    Case(network=SMALL_CNN, group_size=16),
    Case(network=WRN_16_1, group_size=4, num_steps=8),
    Case(network=WRN_16_4, group_size=4, num_steps=8),
)
QUICK_CASES = (Case(network=MLP, group_size=4), Case(network=TINY_CNN, group_size=4))


def measure(options: Options) -> Iterator[Row]:
    """Return one row a case and engine, and one for the engine that the planner picks.

    Raises:
        RuntimeError: At the end: a case could not be measured.
    """
    cases = CASES if options.device == "cpu" else CUDA_CASES
    asked = [c for c in (QUICK_CASES if options.is_quick else cases) if options.only in c.name]
    return rows_of(partial(_measure_case, case, options) for case in asked)


def _measure_case(case: Case, options: Options) -> Iterator[Row]:
    seconds = time_engines(case, options)
    for engine in seconds:
        if engine != SEQUENTIAL:
            yield _row(case, engine, seconds, engine)
    chosen = chosen_engine(case, options)
    if chosen in seconds:
        yield _row(case, chosen, seconds, f"chosen ({chosen})")


def _row(case: Case, engine: str, seconds: Mapping[str, Sequence[float]], label: str) -> Row:
    bound = 0.97 if label != engine else case.goal if engine == "grouped" else None
    return Row(
        letter="c",
        what=f"{label}, {case.name}",
        against=f"{case.group_size} separate models",
        value=paired_ratio(seconds, SEQUENTIAL, engine),
        measure="times faster",
        goal=None if bound is None else Goal(rule=">=", bound=bound),
        how=f"epoch of all members: {medians(seconds)}",
    )


def members_of(case: Case) -> list[TrialConfig]:
    """Return the trials of a case: arms take turns, learning rates differ."""
    settings = {
        **NETWORKS[case.network],
        **case.settings,
        "num_epochs": NUM_EPOCHS,
        "schedule": "constant",
        "precision": case.precision,
    }
    if case.batch_size is not None:
        settings["batch_size"] = case.batch_size
    if case.num_steps is not None:
        settings["train_samples"] = case.num_steps * settings["batch_size"]
    arms = MAIN_ARMS
    return [
        build_config(
            {
                **settings,
                "arm": arms[number % len(arms)],
                "rlp_lambda": 0.0 if arms[number % len(arms)] == "control" else 1.0,
                "lr": 1e-3 * (1 + number / 100),
            }
        )
        for number in range(case.group_size)
    ]


def time_engines(
    case: Case, options: Options, *, others: Mapping[str, Callable[[], object]] | None = None
) -> dict[str, list[float]]:
    """Return seconds an epoch of all members by engine; engines that cannot train it are absent.

    What raises in its first epoch is absent as well, and told of on stderr.

    Args:
        case: Network and group size.
        options: Where.
        others: What takes turns with the engines, by name.

    Raises:
        RuntimeError: A member raised, trained alone or later than in the first epoch.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    device = torch.device(options.device)
    configs = members_of(case)
    calls: dict[str, Callable[[], object]] = {
        name: Epochs(get_engine(name)(configs, data_dir="data", device=device), device)
        for name in case.engines
        if name not in _ONLY_ON_CUDA or device.type == "cuda"
        if name in (SEQUENTIAL, *_ONLY_ON_CUDA) or _refusal(configs[0], name) is None
    }
    return interleave(
        _without_those_that_raise({**calls, **(others or {})}),
        num_rounds=2 if options.is_quick else 15,
        clock=options.clock,
        budget_s=options.budget_s(on_cpu=40, on_gpu=case.gpu_budget_s),
    )


def _without_those_that_raise(
    calls: dict[str, Callable[[], object]],
) -> dict[str, Callable[[], object]]:
    """Call each once, and return those that did not raise; `SEQUENTIAL`, the base, must not."""
    for name in list(calls):
        try:
            calls[name]()
        except Exception:  # whatever it is, the other engines' figures are worth having
            if name == SEQUENTIAL:
                raise
            traceback.print_exc(file=sys.stderr)
            print(f"{name!r} is left out: its trace is above", file=sys.stderr)
        else:
            continue
        del calls[name]
        free_memory()  # out here, where no frame of the error holds a tensor any more
    return calls


class Epochs:
    """Calls that train an engine's members one epoch further each."""

    def __init__(self, engine: Engine, device: torch.device) -> None:
        self._engine = engine
        self._device = device
        self._epoch = 0

    def __call__(self) -> None:
        """Train one epoch further.

        Raises:
            RuntimeError: A member raised.
        """
        self._epoch += 1
        outcomes = self._engine.advance(self._epoch, evaluates=False)
        wait_for(self._device)
        errors = [outcome.error for outcome in outcomes.values() if not outcome.is_finite]
        if errors:
            msg = f"members of {self._engine.name!r} must train, but: {errors[0]}"
            raise RuntimeError(msg)


def _refusal(config: TrialConfig, engine: str) -> str | None:
    from rlp_sweeps.training.engines.traits import engine_refusal

    info = load_image_arrays(config.dataset, data_dir="data").info
    return engine_refusal(config, info, engine=engine)


def chosen_engine(case: Case, options: Options) -> str:
    """Return the engine that the planner picks for the trials of a case in groups of this size."""
    from rlp_sweeps.orchestration.engine_choice import EngineRequest, Evidence, Kind, choose_engine
    from rlp_sweeps.orchestration.evidence import evidence_from_calibration, evidence_from_probes

    config = replace(members_of(case)[0], train_samples=None)
    kind = Kind(config=config, blocks=(case.group_size,))
    request = EngineRequest(group_size=case.group_size)
    evidence: Evidence
    if options.device == "cpu":
        info = load_image_arrays(config.dataset, data_dir="data").info
        evidence = evidence_from_calibration(config, info)
    else:
        from rlp_sweeps.training.engines.probing import Prober

        prober = Prober(device=torch.device(options.device), data_dir="data")
        evidence = evidence_from_probes(kind, request, prober=prober)
    return choose_engine(kind, request, evidence).engine
