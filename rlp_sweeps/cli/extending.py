"""The command that adds values, seeds or points to a sweep, and trains them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlp_sweeps.arms import ARMS
from rlp_sweeps.cli import completion
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.option_groups import Driving
from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.sweeping import watch
from rlp_sweeps.views.progress_state import in_words

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.extension import Extension
    from rlp_sweeps.orchestration.progress import RunOptions
    from rlp_sweeps.tracking.run_directory import RunDirectory


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
    from rlp_sweeps.orchestration.extension import ExtensionRequest, plan_extension
    from rlp_sweeps.tracking.run_directory import RunDirectory

    run_options = driving.run_options(trusts_code=trust_code)
    opened = RunDirectory.open(directory)
    request = ExtensionRequest(
        settings=opt.parse_settings(set_ or ()), num_seeds=num_seeds, num_points=num_points
    )
    found = plan_extension(opened.manifest, request)
    _show(found, opened, directory, as_json=json and dry_run)
    if dry_run or not found.num_new_trials:
        return opt.DONE
    _write(found, opened, run_options)
    return _train(opened, directory, run_options, is_analyzed=not no_analyze)


def _show(found: "Extension", opened: "RunDirectory", directory: Path, *, as_json: bool) -> None:
    times = opened.read_trials()["wall_time_s"].drop_null().to_pylist()
    time_s = sum(times) / len(times) * found.num_new_trials if times else None
    if as_json:
        from rlp_sweeps.cli.printing import print_json

        print_json({**found.to_dict(), "estimated_trial_time_s": time_s})
        return
    pace = ""
    if time_s:
        pace = f"; about {in_words(time_s)} one after the other, at the pace of its finished trials"
    print(f"extension of {directory}: {describe(found)}{pace}", flush=True)


def describe(found: "Extension") -> str:
    """Return what is added, in one line: "4 trials: 2 control, 2 full (lr=0.2)"."""
    if not found.num_new_trials:
        return "nothing to add, the sweep has all of it"
    if found.num_new_points:
        return f"{found.num_new_points} points of {found.trials_per_point} trial(s)"
    arms = ", ".join(f"{number} {arm}" for arm, number in found.trials_by_arm.items())
    added = [
        f"{name}={','.join(map(str, values))}"
        for name, values in found.changes.get("axes", {}).items()
    ]
    if "num_seeds" in found.changes:
        added.append(f"{found.changes['num_seeds']} seeds in all")
    return f"{len(found.trials)} trials: {arms} ({'; '.join(added)})"


def _write(found: "Extension", opened: "RunDirectory", options: "RunOptions") -> None:
    """Write the extension into the plan, once it is known that it can be trained here."""
    from rlp_sweeps.orchestration.sweep_request import check_resume

    check_resume(opened, options, further=found.trials)
    opened.add_trials(found.trials, why=describe(found), extends=found.changes)


def _train(
    opened: "RunDirectory", directory: Path, options: "RunOptions", *, is_analyzed: bool
) -> int:
    from rlp_sweeps.orchestration.sweep import resume_sweep

    def resume(progress: Any) -> Any:
        return resume_sweep(directory, options=options, progress=progress)

    status = watch(resume, directory, is_analyzed=is_analyzed, tracking_uri=options.tracking_uri)
    arms = set(opened.read_trials()["arm"].to_pylist())
    if status == opt.DONE and any(ARMS[arm].matched_to for arm in arms & set(ARMS)):
        say(f"`rlp-sweeps follow-up {directory}` trains the matched controls of what was added.")
    return status
