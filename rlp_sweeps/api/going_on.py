"""Go on with a sweep from Python: extend it, follow it up, stop it, ask how it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from rlp_sweeps.api import requests
from rlp_sweeps.api.extending import prepare_extension
from rlp_sweeps.api.following import FollowUpRequest, FollowUpStages, Tell
from rlp_sweeps.api.results import SweepResult
from rlp_sweeps.api.stopping import request_stop, wait_for_end
from rlp_sweeps.api.sweeping import RunSettings, train
from rlp_sweeps.settings import SettingValue
from rlp_sweeps.stores import as_path

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.progress import ProgressListener, RunOptions
    from rlp_sweeps.orchestration.status import SweepStatus


def extend_sweep(
    directory: Path | str,
    *,
    values: Mapping[str, SettingValue] | None = None,
    num_seeds: int | None = None,
    num_points: int | None = None,
    progress: "bool | ProgressListener" = True,
    **options: Unpack[RunSettings],
) -> SweepResult:
    """Add values of an axis, seeds or points to a sweep, and train what is left.

    Nothing is trained twice; the manifest keeps what was added when. ``rlp-sweeps extend`` does the
    same.

    Args:
        directory: The run directory.
        values: Further values of axes of a grid by name, as ``{"lr": [0.2, 0.4]}``.
        num_seeds: Replicates that a grid shall have in all.
        num_points: Points that a search shall have in all.
        progress: As `run_sweep` takes it.
        options: Where it runs, see `RunSettings`.

    Raises:
        ArgumentError: What is asked for cannot be added, or nothing was; nothing was started.
        RunDirectoryError: It is no run directory, or is in use.
        KeyboardInterrupt: It was interrupted; what is finished is kept, and `resume_sweep` goes on.
    """
    from rlp_sweeps.orchestration.extension import ExtensionRequest

    where, settings = as_path(directory), requests.run_options(options)
    request = ExtensionRequest(
        settings=dict(values or {}), num_seeds=num_seeds, num_points=num_points
    )
    prepared = prepare_extension(where, request)
    _teller(progress)(prepared.sentence)
    if not prepared.is_empty:
        prepared.write(settings)
    return _resume(where, settings, progress)


def follow_up(  # noqa: PLR0913  # each is asked for on the command line
    directory: Path | str,
    *,
    matched_to: Sequence[str] | None = None,
    num_seeds: int | None = None,
    half_width: float | None = None,
    replays: bool = False,
    cap: float | None = None,
    progress: "bool | ProgressListener" = True,
    **options: Unpack[RunSettings],
) -> SweepResult:
    """Train what the analysis of a finished sweep lacks, in the same directory.

    Controls at the learning rate that each arm amounts to, further seeds, failed trials once more;
    ``rlp-sweeps follow-up`` does the same. Further seeds make two trainings, the second one of the
    controls that are matched to what the first one measured.

    Args:
        directory: The run directory.
        matched_to: Arms whose measured κ controls are trained at: full, class_term, uniform_term.
            Default: all that the sweep has.
        num_seeds: Replicates that the sweep shall have. Default: those that it has.
        half_width: Instead, as many as Stein's two-stage rule asks for, so that every pooled 95 %
            interval is at most ± so wide, in units of test accuracy.
        replays: Train controls besides that replay κ from one evaluation to the next.
        cap: κ of a replayed interval is cut to 0 … cap. Default: 10.
        progress: As `run_sweep` takes it.
        options: Where it runs, see `RunSettings`.

    Raises:
        ArgumentError: The sweep is not finished, or what is asked for does not fit it.
        RunDirectoryError: It is no run directory, or is in use.
        KeyboardInterrupt: It was interrupted; what is finished is kept, and the same call goes on.
    """
    where, settings = as_path(directory), requests.run_options(options)
    request = FollowUpRequest(
        matched_to=None if matched_to is None else tuple(matched_to),
        num_seeds=num_seeds,
        half_width=half_width,
        replays=replays,
        cap=cap,
    )
    tell = _teller(progress)
    stages = FollowUpStages(where, request, settings, tell=tell, warn=tell)
    result = None
    for training in stages:
        result = _resume(where, training.options, progress)
        if not result.is_complete:
            return result
    if stages.is_out_of_budget:
        tell(f"the budget is used up; `follow_up({str(where)!r})` again goes on.")
    return result or _resume(where, replace(settings, retry_failed=False), progress)


def cancel_sweep(directory: Path | str, *, now: bool = False, waits: bool = True) -> int | None:
    """Ask the sweep at work in a directory to stop, as ``rlp-sweeps cancel`` does.

    Args:
        directory: The run directory, which a driver on any machine shares.
        now: Cut running epochs off; False: wait for their end, five minutes at most.
        waits: Return when the sweep has ended; False: at once.

    Returns:
        Finished trials; None where nobody waited for the end.

    Raises:
        ArgumentError: Nobody is at work there, or an older version, which cannot be asked.
        RunDirectoryError: It is no run directory, or cannot be written.
    """
    where = as_path(directory)
    holder = request_stop(where, now=now)
    return wait_for_end(where, holder) if waits else None


def sweep_status(directory: Path | str) -> "SweepStatus":
    """Return how a sweep stands, as ``rlp-sweeps status`` says it; nothing is changed.

    Raises:
        RunDirectoryError: It is no run directory.
        SchemaError: One of its part files is corrupt.
    """
    from rlp_sweeps.orchestration.status import sweep_status as status_of

    return status_of(as_path(directory))


def _teller(progress: "bool | ProgressListener") -> Tell:
    """Return who hears what is trained: stdout, where lines are printed, or the listener."""
    if progress is True:
        return partial(print, flush=True)
    return progress.on_notice if progress else lambda _: None


def _resume(
    directory: Path, options: "RunOptions", progress: "bool | ProgressListener"
) -> SweepResult:
    from rlp_sweeps.orchestration.sweep import resume_sweep

    return train(
        lambda told: resume_sweep(directory, options=options, progress=told),
        directory,
        progress=progress,
    )
