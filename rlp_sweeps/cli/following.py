"""The command that trains what a finished sweep's analysis lacks."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlp_sweeps.api.following import FollowUpRequest, FollowUpStages
from rlp_sweeps.cli import completion
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.option_groups import Driving
from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.sweeping import watch

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.follow_up import FollowUp
    from rlp_sweeps.orchestration.progress import RunOptions, SweepOutcome
    from rlp_sweeps.views.live_view import SweepView

MatchedTo = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ARM",
        autocompletion=completion.matched_arms,
        help="Train controls at the learning rate that this arm amounts to (its measured κ): full, "
        "class_term, uniform_term. Repeatable. Default: all that the sweep has.",
    ),
]


def follow_up(  # noqa: PLR0913  # one parameter an option
    directory: opt.Directory,
    *,
    matched_to: MatchedTo = None,
    num_seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Replicates the sweep shall have. Default: those it has."),
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Instead of N: as many replicates as Stein's two-stage rule asks for, so that "
            "every pooled 95 % interval is at most ± X wide, in units of test accuracy.",
        ),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Besides, train controls that replay κ from one evaluation to the next, in place "
            "of one κ for the whole training.",
        ),
    ] = False,
    cap: Annotated[
        float | None,
        typer.Option(metavar="X", help="Cut a replayed κ to 0 … X. Default: 10."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is lacking; stop.")] = False,
    json: opt.AsJson = False,
    driving: Driving,
    trust_code: opt.TrustCode = False,
    no_analyze: opt.NoAnalyze = False,
) -> int:
    """Train what the analysis lacks, in the same directory.

    Controls at the learning rate that each arm amounts to, further seeds, failed trials once more.
    """
    from rlp_sweeps.cli.printing import print_json

    request = FollowUpRequest(
        matched_to=None if matched_to is None else tuple(matched_to),
        num_seeds=num_seeds,
        half_width=half_width,
        replays=replay,
        cap=cap,
    )
    stages = FollowUpStages(
        directory,
        request,
        driving.run_options(trusts_code=trust_code),
        tell=partial(print, flush=True),
        warn=say,
    )
    if json and dry_run:
        print_json(_as_dict(stages.found))
    status = opt.DONE
    if dry_run:
        return status
    for training in stages:
        status = watch(
            partial(_resume, directory, training.options),
            directory,
            is_analyzed=training.is_last and not no_analyze,
            tracking_uri=driving.tracking_uri,
        )
        if status not in {opt.DONE, opt.SOME_FAILED}:
            return status
    if stages.is_out_of_budget:
        say(f"the budget is used up; `rlp-sweeps follow-up {directory}` again goes on.")
        return opt.OUT_OF_BUDGET
    return status


def _as_dict(found: "FollowUp") -> dict[str, Any]:
    """Return what is lacking as JSON-ready values."""
    return {
        "num_trials": len(found.trials) + found.num_retried,
        "trials_by_arm": dict(Counter(trial.arm for trial in found.trials)),
        "multipliers": {arm: list(ends) for arm, ends in found.multipliers.items()},
        "num_further": found.num_further,
        "num_retried": found.num_retried,
        "skipped": list(found.skipped),
    }


def _resume(directory: Path, options: "RunOptions", progress: "SweepView") -> "SweepOutcome":
    from rlp_sweeps.orchestration.sweep import resume_sweep

    return resume_sweep(directory, options=options, progress=progress)
