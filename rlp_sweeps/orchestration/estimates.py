"""What a sweep will cost, from a few real steps of training; nothing is written."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.orchestration.progress import RunOptions, last_line
from rlp_sweeps.orchestration.resources import GroupResources, local_resources

_BUDGET_S = 6.0
"""Training of further kinds of trials is not timed once this much time has passed."""

_FEW_STEPS, _MORE_STEPS = 1, 4
_EVALUATED_SAMPLES = 64
_HARMLESS_LR = 1e-6  # takes as long as any other, and does not diverge

_BYTES_A_SWEEP = 1_000_000
_BYTES_A_TRIAL = 15_500
_BYTES_AN_EVALUATION = 3_200
"""Parquet and MLflow's SQLite together, nine tenths of it MLflow's; measured with 5 and 45 trials
of 4 and 24 evaluations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepEstimate:
    """What a sweep will cost.

    Attributes:
        time_s: Seconds from start to end, as many groups at once as fit; None where the data are
            not at hand to time a step on.
        disk_bytes: Run directory and MLflow store together, without checkpoints.
        basis: Where the figures come from, one sentence.
    """

    time_s: float | None
    disk_bytes: int
    basis: str


def estimate_sweep(plan: SweepPlan, *, options: RunOptions | None = None) -> SweepEstimate:
    """Return what a plan will cost on this machine, after some seconds of training.

    Each kind of trial (all settings that a group shares) is timed on a few steps, the time a sample
    takes being the difference between two runs of different length.

    Raises:
        ConfigError: A trial raises.
        DatasetError: The data cannot be read.
        ClusterError: A group does not fit on this machine.
    """
    options = options or RunOptions()
    kinds = group_representatives(plan)
    with _threads(GroupResources.of(options, device=plan.device).num_threads):
        timed = _timed_kinds(kinds, plan)
    slots, where = _slots(plan, options)
    mean_s = sum(timed) / len(timed)
    trials = _trials_by_kind(plan, kinds)
    times = [*timed, *(mean_s for _ in kinds[len(timed) :])]
    total_s = sum(number * time_s for number, time_s in zip(trials, times, strict=True))
    return SweepEstimate(
        time_s=total_s / slots,
        disk_bytes=_disk_bytes(plan, kinds),
        basis=(
            f"{len(timed)} of {len(kinds)} kind(s) of trial timed for a few steps on this machine "
            f"({plan.device}), {slots} group(s) at once ({where}), start-up left out; disk as "
            "measured per trial and evaluation, checkpoints left out."
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
    started = time.monotonic()
    times: list[float] = []
    for kind in kinds:
        if times and time.monotonic() - started > _BUDGET_S:
            break
        times.append(_trial_time_s(kind, plan))
    return times


@dataclass(frozen=True, slots=True)
class _Probe:
    """Two epochs of a short training, in seconds: without and with an evaluation after it."""

    num_train: int
    num_evaluated: int
    plain_s: float
    evaluation_s: float


def _trial_time_s(config: TrialConfig, plan: SweepPlan) -> float:
    import torch

    from rlp_sweeps.training.datasets import split_dataset

    data = split_dataset(config, data_dir=plan.data_dir, device=torch.device("cpu"))
    num_train = len(data.train_labels_N)
    num_evaluated = num_train + len(data.val_labels_N) + len(data.test_labels_N)
    few = _probe(config, plan, min(_FEW_STEPS * config.batch_size, num_train))
    more = few
    if few.plain_s + few.evaluation_s < _BUDGET_S / 4:
        more = _probe(config, plan, min(_MORE_STEPS * config.batch_size, num_train))
    epoch_s = _line((few.num_train, few.plain_s), (more.num_train, more.plain_s), num_train)
    evaluation_s = _line(
        (few.num_evaluated, few.evaluation_s),
        (more.num_evaluated, more.evaluation_s),
        num_evaluated,
    )
    return config.num_epochs * epoch_s + num_evaluations(config) * evaluation_s


def _line(first: tuple[int, float], second: tuple[int, float], at: int) -> float:
    """Return the time at a number of samples: on the line of two points, or in proportion."""
    (few, few_s), (more, more_s) = first, second
    if more == few or more_s <= few_s:
        return more_s * at / more
    return few_s + (more_s - few_s) * (at - few) / (more - few)


def _probe(config: TrialConfig, plan: SweepPlan, num_train: int) -> _Probe:
    """Time the second and the third epoch of a short training; the first one warms up."""
    from rlp_sweeps.training.loop import GroupContext, GroupProgress, train_group

    short = replace(
        config,
        lr=_HARMLESS_LR,
        num_epochs=3,
        eval_every=3,
        warmup_epochs=0,
        train_samples=num_train,
        val_samples=min(config.val_samples or _EVALUATED_SAMPLES, _EVALUATED_SAMPLES),
        test_samples=min(config.test_samples or _EVALUATED_SAMPLES, _EVALUATED_SAMPLES),
    )
    ends: list[float] = []

    def report(progress: GroupProgress) -> bool:
        del progress
        ends.append(time.perf_counter())
        return True

    context = GroupContext(
        group_id="estimate", data_dir=plan.data_dir, device=plan.device, engine=plan.engine
    )
    (result,) = train_group([short], context=context, report=report)
    if len(ends) < short.num_epochs or result.trial["status"] != "completed":
        msg = f"a trial must train, but does not: {last_line(result.trial['error'] or '')}."
        raise ConfigError(msg)
    plain_s, evaluated_s = _gaps(ends)
    num_evaluated = num_train + 2 * _EVALUATED_SAMPLES
    return _Probe(num_train, num_evaluated, plain_s, max(0.0, evaluated_s - plain_s))


def _gaps(ends: list[float]) -> tuple[float, float]:
    """Return the times between three epochs' ends."""
    first, second = (end - start for start, end in pairwise(ends))
    return first, second


def num_evaluations(config: TrialConfig) -> int:
    """Return how often a trial is evaluated; the last epoch always counts."""
    return -(-config.num_epochs // config.eval_every)


def _slots(plan: SweepPlan, options: RunOptions) -> tuple[int, str]:
    """Return how many groups train at once, and why."""
    if options.max_concurrent is not None:
        return options.max_concurrent, "as asked for"
    if options.address is not None:
        return 1, "the cluster was not asked"
    resources = GroupResources.of(options, device=plan.device)
    return resources.slots(local_resources(options, resources)), "as many as fit"


def _trials_by_kind(plan: SweepPlan, kinds: Sequence[TrialConfig]) -> list[float]:
    if plan.is_search:
        return [plan.num_trials / len(kinds)] * len(kinds)
    counts = Counter(trial.group_key for trial in plan.trials)
    return [float(counts[kind.group_key]) for kind in kinds]
