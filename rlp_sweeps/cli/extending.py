"""The command that adds values, seeds or points to a sweep, and trains them."""

from typing import TYPE_CHECKING, Annotated

import typer

from rlp_sweeps.api.extending import prepare_extension
from rlp_sweeps.cli import completion
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.option_groups import Driving
from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.sweeping import watch

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.progress import SweepOutcome
    from rlp_sweeps.views.live_view import SweepView


def extend(  # noqa: PLR0913  # one parameter an option
    directory: opt.Directory,
    *,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            autocompletion=completion.settings,
            help="Further value(s) of an axis of a grid: --set lr=0.2,0.4. Repeatable.",
        ),
    ] = None,
    num_seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Replicates that a grid shall have in all.")
    ] = None,
    num_points: Annotated[
        int | None, typer.Option(metavar="N", help="Points that a search shall have in all.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is added; stop.")] = False,
    json: opt.AsJson = False,
    driving: Driving,
    trust_code: opt.TrustCode = False,
    no_analyze: opt.NoAnalyze = False,
) -> int:
    """Add values of an axis, seeds or points to a sweep, and train what is left.

    Nothing is trained twice; the manifest keeps what was added when.
    """
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.orchestration.extension import ExtensionRequest
    from rlp_sweeps.orchestration.sweep import resume_sweep

    run_options = driving.run_options(trusts_code=trust_code)
    values = opt.parse_settings(set_ or ())
    request = ExtensionRequest(settings=values, num_seeds=num_seeds, num_points=num_points)
    prepared = prepare_extension(directory, request)
    opt.note_commas(values)
    if json and dry_run:
        print_json({**prepared.found.to_dict(), "estimated_trial_time_s": prepared.time_s})
    else:
        print(prepared.sentence, flush=True)
    if dry_run or prepared.is_empty:
        return opt.DONE
    prepared.write(run_options)

    def resume(progress: "SweepView") -> "SweepOutcome":
        return resume_sweep(directory, options=run_options, progress=progress)

    status = watch(resume, directory, is_analyzed=not no_analyze, tracking_uri=driving.tracking_uri)
    if status == opt.DONE and prepared.lacks_controls():
        say(f"`rlp-sweeps follow-up {directory}` trains the matched controls of what was added.")
    return status
