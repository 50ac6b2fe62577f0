"""What is checked before a sweep is begun, or goes on; nothing is written here."""

from collections.abc import Sequence
from dataclasses import replace

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.budget import check_budget
from rlp_sweeps.orchestration.executor import Executor, check_trained, executor_of
from rlp_sweeps.orchestration.label_check import check_labels
from rlp_sweeps.orchestration.named_code import check_code, trust_code
from rlp_sweeps.orchestration.planner import (
    SweepPlan,
    group_representatives,
    plan_from_manifest,
    with_trials,
)
from rlp_sweeps.orchestration.points import check_early_stopping
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.sweep_tracking import check_tracking
from rlp_sweeps.tracking.run_directory import RunDirectory


def check_resume(
    directory: RunDirectory, options: RunOptions, *, further: Sequence[TrialConfig] = ()
) -> SweepPlan:
    """Return the plan that a resumed sweep would go on with; nothing is written.

    Args:
        directory: Its run directory.
        options: Where it runs.
        further: Trials that are to be added to the plan.

    Raises:
        RlpSweepsError: As `resume_sweep` raises before it starts.
    """
    options = replace(options, tracking_may_be_away=True)
    return checked_plan(directory, options, executor_of(directory), further=further)[0]


def checked_plan(
    directory: RunDirectory,
    options: RunOptions,
    executor: Executor,
    *,
    further: Sequence[TrialConfig] = (),
) -> tuple[SweepPlan, str | None]:
    """Return the plan that a sweep goes on with, as `check_resume` does, and why MLflow is away.

    Args:
        directory: Its run directory.
        options: Where it runs.
        executor: Who carries out what is left.
        further: Trials that are to be added to the plan.

    Raises:
        RlpSweepsError: As `resume_sweep` raises before it starts.
    """
    plan = plan_from_manifest(directory.manifest)
    check_code(directory, plan, is_trusted=options.trusts_code)
    if further:
        plan = with_trials(plan, further)
        trust_code(directory, [*group_representatives(plan), *plan.trials])  # told by this user
    plan = executor.prepared(plan, options)
    away = check_request(plan, options, executor)
    directory.check_same_data(executor.data_of(plan))
    return plan, away


def check_request(plan: SweepPlan, options: RunOptions, executor: Executor) -> str | None:
    """Refuse what cannot be carried out before anything is written; return why MLflow is away.

    Raises:
        RlpSweepsError: As `run_sweep` raises before it starts.
    """
    check_early_stopping(plan)
    check_budget(plan, options)
    executor.check_place(plan, options)
    if options.probes:
        from rlp_sweeps.orchestration.probe_fit import left_out_of_plan

        left_out_of_plan(plan, options.probes)
    if plan.is_search and options.reuse:
        msg = (
            "`--reuse` takes over planned trials, but the points of a search are sampled while it "
            f"runs; leave out {[str(path) for path in options.reuse]}."
        )
        raise ArgumentError(msg)
    for path in options.reuse:
        check_trained(RunDirectory.open(path))
    if options.keep_samples:
        check_labels(plan)
    return check_tracking(options) if executor.is_tracked(options) else None
