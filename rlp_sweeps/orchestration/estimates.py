"""What a sweep will cost, from a few real steps of its engines; nothing is written."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError
from rlp_sweeps.orchestration.engine_choice import SEQUENTIAL
from rlp_sweeps.orchestration.grouping import group_ends, makespan, shared_settings
from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources
from rlp_sweeps.orchestration.room import room_for

if TYPE_CHECKING:
    from rlp_sweeps.training.engines.probing import Prober

_BUDGET_S = 6.0
"""Further kinds of trials are not timed once this much time has passed."""

_FEW_MEMBERS = 2
"""Members of the probe that says whether the whole group can be timed within the budget."""

_BYTES_A_SWEEP = 1_000_000
_BYTES_A_TRIAL = 15_500
_BYTES_AN_EVALUATION = 3_200
"""Parquet and MLflow's SQLite together, nine tenths of it MLflow's; measured with 5 and 45 trials
of 4 and 24 evaluations."""

_BYTES_A_SAMPLE = 12
"""A row of ``samples`` in its Parquet file; measured with 1,000 to 70,000 samples a trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepEstimate:
    """What a sweep will cost.

    Attributes:
        time_s: Seconds from start to end, as many groups at once as fit; None where the data are
            not at hand to time a step on.
        disk_bytes: Run directory and MLflow store together, without checkpoints; kept samples and
            networks where the data are at hand to count them.
        basis: Where the figures come from, one sentence.
        ends: When each group would end, in s, with its number of trials, in the order of the ends.
    """

    time_s: float | None
    disk_bytes: int
    basis: str
    ends: tuple[tuple[float, float], ...] = ()

    def trials_within(self, time_s: float) -> float | None:
        """Return how many trials would have ended by then; None where no time is known."""
        if self.time_s is None:
            return None
        return sum(num_trials for end_s, num_trials in self.ends if end_s <= time_s)


def estimate_sweep(plan: SweepPlan, *, options: RunOptions | None = None) -> SweepEstimate:
    """Return what a plan will cost on this machine, after some seconds of training.

    Each kind of trial (all settings that a group shares) is timed on a few steps of a group of its
    engine and size.

    Raises:
        ConfigError: A trial raises.
        BackboneError: An engine cannot train a group of the planned size.
        DatasetError: The data cannot be read.
        ClusterError: A group does not fit.
    """
    options = options or RunOptions()
    kinds = group_representatives(plan)
    with _threads(GroupResources.of(options, device=plan.device).num_threads):
        timed = _timed_kinds(kinds, plan)
    mean_s = sum(timed) / len(timed)
    times = [*timed, *(mean_s for _ in kinds[len(timed) :])]
    slots = room_for(options, device=plan.device).slots
    durations = _durations(plan, kinds, times)
    where = "as many as fit" if options.max_concurrent is None else "as asked for"
    return SweepEstimate(
        time_s=makespan(durations, slots),
        ends=tuple(sorted(zip(group_ends(durations, slots), _group_trials(plan), strict=True))),
        disk_bytes=_disk_bytes(plan, kinds)
        + _bytes_of_samples(plan, kinds, options)
        + _bytes_of_networks(plan, kinds, options),
        basis=(
            f"{len(timed)} of {len(kinds)} kind(s) of trial timed for a few steps in groups as "
            f"planned on this machine ({plan.device}) at its present load, {slots} group(s) at "
            f"once ({where}), start-up left out; disk as measured per "
            f"{_measured_things(options)}, checkpoints left out."
        ),
    )


def estimate_without_data(plan: SweepPlan, reason: str) -> SweepEstimate:
    """Return what is known of a plan whose data are not here: its disk, and why not its time."""
    return SweepEstimate(
        time_s=None, disk_bytes=_disk_bytes(plan, group_representatives(plan)), basis=reason
    )


def _disk_bytes(plan: SweepPlan, kinds: Sequence[TrialConfig]) -> int:
    trials = _trials_by_kind(plan, kinds)
    evaluations = sum(n * num_evaluations(k) for n, k in zip(trials, kinds, strict=True))
    bytes_of_trials = plan.num_trials * _BYTES_A_TRIAL
    return _BYTES_A_SWEEP + bytes_of_trials + round(evaluations) * _BYTES_AN_EVALUATION


def _bytes_of_samples(plan: SweepPlan, kinds: Sequence[TrialConfig], options: RunOptions) -> int:
    """Return what kept samples take, where every trial is trained to its end."""
    if not options.keep_samples:
        return 0
    from rlp_sweeps.orchestration.evidence import dataset_info
    from rlp_sweeps.training.splits import sizes_of_split

    num_rows = 0.0
    for kind, num_trials in zip(kinds, _trials_by_kind(plan, kinds), strict=True):
        info = dataset_info(kind.dataset, data_dir=plan.data_dir)
        own_test = sizes_of_split(kind, info)[2] if info.num_test else 0
        num_rows += num_trials * (info.num_train + own_test)
    return round(num_rows) * _BYTES_A_SAMPLE


def _bytes_of_networks(plan: SweepPlan, kinds: Sequence[TrialConfig], options: RunOptions) -> int:
    """Return what kept networks take, in the run directory and, where they are logged, in MLflow.

    Every trial is taken to be trained to its end.
    """
    num_copies = 2 * options.log_models or 1 * options.keep_weights
    if not num_copies:
        return 0
    from rlp_sweeps.training.weights import bytes_of_weights

    trials = _trials_by_kind(plan, kinds)
    sizes = [bytes_of_weights(kind, data_dir=plan.data_dir) for kind in kinds]
    num_bytes = sum(n * size for n, size in zip(trials, sizes, strict=True))
    return num_copies * round(num_bytes)


def _measured_things(options: RunOptions) -> str:
    names = ["trial", "evaluation"]
    names += ["kept sample"] * options.keep_samples
    names += ["network"] * (options.log_models or options.keep_weights)
    return f"{', '.join(names[:-1])} and {names[-1]}"


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch use as many threads as a group's worker does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed_kinds(kinds: Sequence[TrialConfig], plan: SweepPlan) -> list[float]:
    """Return the seconds of a whole trial of the first kinds, at least of one."""
    import torch

    from rlp_sweeps.training.engines.probing import Prober

    prober = Prober(data_dir=plan.data_dir, device=torch.device(plan.device))
    started = monotonic()
    times: list[float] = []
    for kind in kinds:
        if times and monotonic() - started > _BUDGET_S:
            break
        times.append(_trial_time_s(kind, plan, prober))
    return times


def _trial_time_s(config: TrialConfig, plan: SweepPlan, prober: "Prober") -> float:
    """Return the seconds of one trial as a member of its group.

    Where even two members take long, the whole group is taken to cost as much for each.
    """
    from rlp_sweeps.training.engines.probing import split_sizes

    engine, size = plan.engine_of(config), plan.group_size_of(config)
    members = [1] if engine == SEQUENTIAL else [min(size, _FEW_MEMBERS), size]
    for number in dict.fromkeys(members):
        started = monotonic()
        probe = prober.probe(config, engine=engine, group_size=number)
        if probe.reason is not None:
            msg = (
                f"engine {engine!r} must train {number} trial(s) at a time on {plan.device!r}, but "
                f"cannot: {probe.reason}"
            )
            raise BackboneError(msg)
        if (monotonic() - started) * size / number > _BUDGET_S:
            break
    return probe.trial_s(config, split_sizes(config, data_dir=plan.data_dir))


def _durations(
    plan: SweepPlan, kinds: Sequence[TrialConfig], times: Sequence[float]
) -> list[float]:
    """Return the seconds of each group, in the order they start.

    Args:
        plan: The sweep.
        kinds: One trial of each kind.
        times: Seconds of a trial of each kind.
    """
    if not plan.is_search:
        time_s = {shared_settings(k): t for k, t in zip(kinds, times, strict=True)}
        return [len(g.trials) * time_s[shared_settings(g.trials[0])] for g in plan.groups]
    mean_s = sum(times) / len(times)
    return [plan.num_trials / plan.num_groups * mean_s] * plan.num_groups


def _group_trials(plan: SweepPlan) -> list[float]:
    """Return the trials of each group, in the order they start; of a search their mean."""
    if not plan.is_search:
        return [float(len(group.trials)) for group in plan.groups]
    return [plan.num_trials / plan.num_groups] * plan.num_groups


def num_evaluations(config: TrialConfig) -> int:
    """Return how often a trial is evaluated; the last epoch always counts."""
    return -(-config.num_epochs // config.eval_every)


def _trials_by_kind(plan: SweepPlan, kinds: Sequence[TrialConfig]) -> list[float]:
    if plan.is_search:
        return [plan.num_trials / len(kinds)] * len(kinds)
    counts = Counter(shared_settings(trial) for trial in plan.trials)
    return [float(counts[shared_settings(kind)]) for kind in kinds]
