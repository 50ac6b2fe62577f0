"""Run sweeps from Python: what ``run`` and ``resume`` of the command line do."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from rlp_sweeps.api import requests
from rlp_sweeps.api.requests import SpaceLike
from rlp_sweeps.api.results import SweepResult, resume_call
from rlp_sweeps.api.telling import is_stopped, tell_interrupted, tell_lost_driver
from rlp_sweeps.settings import SettingValue
from rlp_sweeps.stores import as_path, check_store

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.progress import ProgressListener, SweepOutcome


class RunSettings(TypedDict, total=False):
    """Where a sweep runs and how much of it at once: fields of `orchestration.RunOptions`.

    They have the names, defaults and meanings that stand there; `reuse` takes texts as well, and
    `probes` ``"all"`` or names.
    """

    address: str | None
    device: str
    max_concurrent: int | None
    cpus_per_group: float
    gpus_per_group: float | None
    num_cpus: int | None
    tracking_uri: str | None
    tracking_may_be_away: bool
    reuse: Sequence[Path | str]
    retry_failed: bool
    checkpoint_interval_s: float
    keep_weights: bool
    log_models: bool
    keep_samples: bool
    probes: str | Sequence[str]
    trusts_code: bool
    max_hours: float | None
    max_trials: int | None
    trial_timeout_s: float | None


def run_sweep(  # noqa: PLR0913  # each is asked for on the command line
    space: SpaceLike,
    *,
    output: Path | str | None = None,
    name: str | None = None,
    num_seeds: int | None = None,
    first_seed: int | None = None,
    overrides: Mapping[str, SettingValue] | None = None,
    engine: str = "auto",
    group_size: int | None = None,
    progress: "bool | ProgressListener" = True,
    **options: Unpack[RunSettings],
) -> SweepResult:
    """Train a search space; where `output` holds the same sweep, go on with it.

    Ctrl-C, or a notebook's stop button, ends it after what is finished was written, and raises
    ``KeyboardInterrupt`` with the call that goes on.

    Args:
        space: A `SearchSpace`, or what names one: a recipe, a dotted module, a path to a .py file.
        output: The run directory. Default: ``runs/NAME-DATE-TIME``.
        name: Names the sweep. Default: the name of the space's module, or ``sweep``.
        num_seeds: Replicates, instead of the space's number.
        first_seed: Number of the first replicate.
        overrides: Values by name that replace a fixed setting, or several that make an axis, as
            ``{"num_epochs": 5, "lr": [0.01, 0.1]}``.
        engine: How groups are trained, or ``auto``.
        group_size: Most trials in a group; None chooses.
        progress: Print a line now and then; False: nothing; or who else is told.
        options: Where it runs and how much of it, see `RunSettings`.

    Raises:
        ArgumentError: The request is wrong; nothing was started.
        KeyboardInterrupt: It was interrupted; what is finished is kept.
    """
    from rlp_sweeps.orchestration.sweep import run_sweep as run

    where = None if output is None else as_path(output)
    if where is not None:
        check_store(where)  # planning may take a while
    named = requests.resolve_space(
        space, overrides=overrides, num_seeds=num_seeds, first_seed=first_seed, name=name
    )
    settings = requests.run_options({"probes": named.space.probes, **options})
    for path in settings.reuse:
        check_store(path)
    prepared = requests.prepare_run(
        named, settings, engine=engine, group_size=group_size, output=where
    )
    return train(
        lambda told: run(
            prepared.plan, output=prepared.directory, options=prepared.options, progress=told
        ),
        prepared.directory,
        progress=progress,
        notices=prepared.notices,
    )


def resume_sweep(
    directory: Path | str,
    *,
    progress: "bool | ProgressListener" = True,
    **options: Unpack[RunSettings],
) -> SweepResult:
    """Go on with a sweep where it stopped; trials that have ended are not trained again.

    Its search space is read from the directory, wherever it was defined.

    Args:
        directory: The run directory.
        progress: As `run_sweep` takes it.
        options: Where it runs, see `RunSettings`.

    Raises:
        ArgumentError: As `run_sweep` raises, or it is no run directory.
        KeyboardInterrupt: It was interrupted; what is finished is kept.
    """
    from rlp_sweeps.orchestration.sweep import resume_sweep as resume

    where, settings = as_path(directory), requests.run_options(options)
    return train(
        lambda told: resume(where, options=settings, progress=told), where, progress=progress
    )


def train(
    drive: "Callable[[ProgressListener], SweepOutcome]",
    directory: Path,
    *,
    progress: "bool | ProgressListener",
    notices: Sequence[str] = (),
) -> SweepResult:
    """Train, tell what happens meanwhile, and return how it ended.

    Args:
        drive: Trains, and tells the listener that it gets.
        directory: The run directory.
        progress: As `run_sweep` takes it.
        notices: Sentences to tell first.

    Raises:
        KeyboardInterrupt: It was interrupted.
    """
    from rlp_sweeps.orchestration.progress import SilentProgress

    if progress is not True:
        return _result(drive, progress or SilentProgress(), directory)

    from rich.console import Console

    from rlp_sweeps.views.live_view import LogView

    with LogView(Console(file=sys.stdout), directory=directory) as view:
        for sentence in (*filter(None, [tell_lost_driver(directory)]), *notices):
            view.on_notice(sentence)
        result = _result(drive, view, directory)
    for sentence in result.sentences:
        print(sentence, flush=True)
    return result


def _result(
    drive: "Callable[[ProgressListener], SweepOutcome]", told: "ProgressListener", directory: Path
) -> SweepResult:
    try:
        outcome = drive(told)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(tell_interrupted(resume_call(directory))) from interrupt
    if is_stopped(outcome) and outcome.stopped_by is None:  # Tune takes Ctrl-C for the end
        raise KeyboardInterrupt(tell_interrupted(resume_call(directory)))
    return SweepResult(outcome, directory)
