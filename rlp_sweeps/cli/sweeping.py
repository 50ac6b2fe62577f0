"""Commands that plan, start, resume and watch a sweep."""

import os
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlp_sweeps.api.requests import plan_of, prepare_run, probe_names
from rlp_sweeps.api.telling import (
    count_words,
    tell_flaws,
    tell_interrupted,
    tell_lost_driver,
    tell_stopped,
)
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.ending import note_begin, note_further, note_outcome, note_started
from rlp_sweeps.cli.option_groups import Driving, Place
from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.output import is_quiet, tell_result
from rlp_sweeps.errors import DatasetFilesError, RlpSweepsError
from rlp_sweeps.stores import as_path, check_store
from rlp_sweeps.views.progress_state import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlp_sweeps.orchestration.progress import SweepOutcome
    from rlp_sweeps.views.live_view import SweepView


REPORT_WAIT_S = 30.0
"""Longest wait for MLflow to take the report, seconds."""


def spaces(*, json: opt.AsJson = False) -> None:
    """List the recipes: name, claim, trials, arms."""
    from rlp_sweeps.cli.printing import print_json, print_spaces, space_as_dict
    from rlp_sweeps.recipes import list_recipes, load_space

    found = [load_space(name) for name in list_recipes()]
    if json:
        print_json([space_as_dict(named) for named in found])
    else:
        print_spaces(found)


def plan(  # noqa: PLR0913  # one parameter an option
    space: opt.Space,
    *,
    num_seeds: opt.NumSeeds = None,
    first_seed: opt.FirstSeed = None,
    set_: opt.Settings = None,
    engine: opt.Engine = "auto",
    group_size: opt.GroupSize = "auto",
    place: Place,
    seed_spread: opt.SeedSpread = None,
    pilot: opt.Pilot = None,
    keep_samples: opt.KeepSamples = False,
    log_models: opt.LogModels = False,
    json: opt.AsJson = False,
) -> None:
    """Show what a sweep would train; start nothing.

    Trials by arm, groups, resources, estimated time and disk, how far a budget reaches, and the
    smallest effect that its seeds can see.
    """
    size = opt.parse_group_size(group_size)
    named = opt.resolve_space(space, settings=set_, num_seeds=num_seeds, first_seed=first_seed)
    probe_names(",".join(named.space.probes))

    from analysis.sensitivity import judge_sensitivity

    sensitivity = judge_sensitivity(named.space.num_seeds, seed_spread=seed_spread, pilot=pilot)

    from rlp_sweeps.cli.printing import plan_as_dict, print_json, print_plan
    from rlp_sweeps.orchestration.budget import reach
    from rlp_sweeps.orchestration.estimates import estimate_sweep, estimate_without_data
    from rlp_sweeps.orchestration.plan_notices import plan_notices

    run_options = place.run_options(
        keep_samples=keep_samples or named.space.keep_samples, log_models=log_models
    )
    request = partial(plan_of, named, run_options, engine=engine, group_size=size)
    try:
        planned = request()
        estimate = estimate_sweep(planned, options=run_options)
    except DatasetFilesError as error:
        planned = request(checks_data=False)
        estimate = estimate_without_data(planned, f"not timed: {error}")
    for sentence in plan_notices(planned):
        say(sentence)
    reached = reach(planned, estimate, run_options)
    if json:
        power = {"power": sensitivity.to_json()}
        budget = {} if reached is None else {"budget": asdict(reached)}
        print_json(plan_as_dict(planned, estimate, run_options) | budget | power)
    else:
        print_plan(planned, estimate, sensitivity, reached)


def run(  # noqa: PLR0913  # one parameter an option
    space: opt.Space,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=as_path,
            help="Run directory: a folder, or s3://BUCKET/PREFIX. Default: runs/SPACE-DATE-TIME.",
        ),
    ] = None,
    engine: opt.Engine = "auto",
    group_size: opt.GroupSize = "auto",
    driving: Driving,
    tracking_may_be_away: Annotated[
        bool,
        typer.Option(
            "--tracking-may-be-away",
            help="Begin although the MLflow store does not answer, for jobs that nobody watches; "
            "`resume` and `follow-up` always do. `rlp-sweeps sync` completes it later.",
        ),
    ] = False,
    num_seeds: opt.NumSeeds = None,
    first_seed: opt.FirstSeed = None,
    set_: opt.Settings = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            parser=as_path,
            help="Take finished trials from an older sweep. Repeatable.",
        ),
    ] = None,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep trained weights, for `rlp-sweeps probe`.")
    ] = False,
    log_models: opt.LogModels = False,
    keep_samples: opt.KeepSamples = False,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="all|NAME,...",
            help="Probe each trial at the end of its training, without keeping weights (see "
            "`rlp-sweeps probe`). Default: what the space asks for.",
        ),
    ] = None,
    no_analyze: opt.NoAnalyze = False,
) -> int:
    """Train a search space, then analyze it."""
    size = opt.parse_group_size(group_size)
    for path in (*([] if output is None else [output]), *(reuse or ())):
        check_store(path)  # planning may take a while
    named = opt.resolve_space(space, settings=set_, num_seeds=num_seeds, first_seed=first_seed)

    from rlp_sweeps.orchestration.sweep import run_sweep

    run_options = driving.run_options(
        tracking_may_be_away=tracking_may_be_away,
        reuse=tuple(reuse or ()),
        keep_weights=keep_weights,
        log_models=log_models,
        keep_samples=keep_samples,
        probes=probe_names(named.space.probes if probe is None else probe),
    )
    prepared = prepare_run(named, run_options, engine=engine, group_size=size, output=output)
    for sentence in prepared.notices:
        say(sentence)
    return watch(
        lambda progress: run_sweep(
            prepared.plan,
            output=prepared.directory,
            options=prepared.options,
            progress=progress,
        ),
        prepared.directory,
        is_analyzed=not no_analyze,
        tracking_uri=driving.tracking_uri,
    )


def resume(
    directory: opt.Directory,
    *,
    driving: Driving,
    trust_code: opt.TrustCode = False,
    no_analyze: opt.NoAnalyze = False,
) -> int:
    """Go on where a sweep stopped.

    Finished trials are never trained again.
    """
    from rlp_sweeps.orchestration.sweep import resume_sweep

    run_options = driving.run_options(trusts_code=trust_code)
    return watch(
        lambda progress: resume_sweep(directory, options=run_options, progress=progress),
        directory,
        is_analyzed=not no_analyze,
        tracking_uri=driving.tracking_uri,
    )


def status(directory: opt.Directory, *, json: opt.AsJson = False) -> None:
    """Show what is done, running, failed, diverged."""
    from rlp_sweeps.cli.printing import print_json, print_status
    from rlp_sweeps.orchestration.status import sweep_status

    found = sweep_status(directory)
    if json:
        print_json(found.to_dict())
    else:
        print_status(found)


def watch(
    train: "Callable[[SweepView], SweepOutcome]",
    directory: Path,
    *,
    is_analyzed: bool,
    tracking_uri: str | None,
) -> int:
    """Train with a live view, say how it ended, analyze; return the exit status."""
    from rich.console import Console

    from rlp_sweeps.cli.printing import print_best_points
    from rlp_sweeps.views.live_view import open_view

    if lost := tell_lost_driver(directory):
        say(lost)
    note_begin(directory)
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w")) if is_quiet() else None
        console = Console(stderr=nowhere is None, file=nowhere, highlight=False)
        view = open_view(console, directory=directory)
        try:
            with view:
                outcome = train(view)
        except KeyboardInterrupt:
            say(tell_interrupted(_resume_command(directory)))
            return opt.INTERRUPTED
        finally:
            note_started(view.has_started)
    note_outcome(outcome)
    tell_result(f"results: {directory} ({count_words(outcome)})")
    if outcome.device_hours:
        busy = in_words(outcome.device_hours * 3600)
        print(f"took {in_words(outcome.wall_time_s)}; its groups held a device for {busy} in all")
    print_best_points(outcome.best)
    for sentence in tell_flaws(outcome):
        say(sentence)
    if outcome.tracking_error:
        say(outcome.tracking_error)
    if outcome.exit_status in {opt.INTERRUPTED, opt.OUT_OF_BUDGET}:
        say(tell_stopped(outcome, _resume_command(directory)))
        return outcome.exit_status
    if not is_analyzed:
        return outcome.exit_status
    status = _analyze(directory)
    if status == opt.DONE and outcome.is_tracked and not outcome.tracking_error:
        _show_in_mlflow(directory, tracking_uri)
    return max(outcome.exit_status, status)


def _analyze(directory: Path) -> int:
    """Analyze a sweep that was trained; what goes wrong here leaves its results as they are."""
    from rlp_sweeps.cli.reading import analyze_and_print

    try:
        analysis = analyze_and_print([directory])
    except RlpSweepsError as error:
        say(f"the trials are kept, but their analysis failed: {error}")
        return opt.SOME_FAILED
    note_further(analysis=analysis.to_json())
    return opt.DONE


def _show_in_mlflow(directory: Path, tracking_uri: str | None) -> None:
    """Bring report and figures into MLflow, and whatever run it lacks."""
    from rlp_sweeps.tracking.mlflow_tracker import sync_within
    from rlp_sweeps.tracking.run_directory import RunDirectory

    gap = sync_within(REPORT_WAIT_S, RunDirectory.open(directory), tracking_uri)
    if gap is not None:
        say(gap.sentence(directory))
    else:
        print(f"compare runs in a browser: rlp-sweeps ui {directory}")


def _resume_command(directory: Path) -> str:
    return f"rlp-sweeps resume {directory}"
