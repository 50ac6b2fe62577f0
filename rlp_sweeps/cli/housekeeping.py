"""Commands over several run directories, and the machine: what there is, and what can go."""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.output import tell_result
from rlp_sweeps.errors import ArgumentError, RlpSweepsError, RunDirectoryError
from rlp_sweeps.stores import as_path

if TYPE_CHECKING:
    from rlp_sweeps.tracking.leftovers import Size
    from rlp_sweeps.tracking.run_directory import RunDirectory

_UNITS = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_NOT_RESULTS = ("checkpoints", "weights", "logs", "leftovers")


@dataclass(kw_only=True, slots=True)
class _Cleaned:
    """One directory, looked at.

    Attributes:
        directory: As it was given.
        sizes: What can go, or went, by kind.
        kept_because: Why it is left as it is; None where it is not.
        is_removed: Whether it went.
    """

    directory: Path
    sizes: "Mapping[str, Size]" = field(default_factory=dict)
    kept_because: str | None = None
    is_removed: bool = False


def list_(
    folder: Annotated[
        Path,
        typer.Argument(metavar="[FOLDER]", parser=as_path, help="Where run directories lie."),
    ] = Path("runs"),
    *,
    json: opt.AsJson = False,
) -> None:
    """List the run directories below a folder: trials, time, size, verdict in short."""
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.cli.run_list import find_runs, print_runs

    runs = find_runs(folder)
    if json:
        print_json([run.to_dict() for run in runs])
    else:
        print_runs(runs, folder)


def doctor(
    *,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where run directories are to lie.")
    ] = Path("runs"),
    data_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Where data sets are looked for.")
    ] = Path("data"),
    tracking_uri: opt.TrackingUri = None,
    no_ray: Annotated[bool, typer.Option("--no-ray", help="Start no Ray cluster.")] = False,
    json: opt.AsJson = False,
) -> int:
    """Say what this machine has of what a sweep needs, for reports of what went wrong.

    Versions, cores, devices, disk, data sets, the MLflow store, and whether Ray starts. Exit status
    1: something is amiss.
    """
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.orchestration.doctor import examine

    found = []
    for check in examine(
        folder=folder, data_dir=data_dir, tracking_uri=tracking_uri, starts_ray=not no_ray
    ):
        found.append(check)
        mark = "wrong" if check.is_well is False else "ok"
        print(opt.plain(f"{mark:5}  {check.name}: {check.found}"), flush=True)
    if json:
        print_json([check.to_dict() for check in found])
    return opt.SOME_FAILED if any(check.is_well is False for check in found) else opt.DONE


def clean(  # noqa: PLR0913  # one parameter an option
    directories: Annotated[
        list[Path], opt.directory_argument("Run directories.", metavar="DIR...")
    ],
    *,
    checkpoints: Annotated[
        bool,
        typer.Option("--checkpoints", help="Of sweeps that are done; others still need theirs."),
    ] = False,
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Trained networks, which `probe` and `load_model` read."),
    ] = False,
    samples: Annotated[
        bool, typer.Option("--samples", help="What networks say of every sample.")
    ] = False,
    logs: Annotated[
        bool,
        typer.Option("--logs", help="Of groups that have ended, and what Ray Tune has left."),
    ] = False,
    all_but_results: Annotated[
        bool,
        typer.Option("--all-but-results", help="All of these but samples, and spoilt files."),
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="N(h|d|w)", help="Only directories untouched for so long: 30d."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove. Default: say what would go.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and stop; the default.")
    ] = False,
    json: opt.AsJson = False,
) -> int:
    """Remove what finished sweeps no longer need, by choice; results are never touched.

    Without a choice and without --yes: what could go, by kind.
    """
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.tracking.leftovers import KINDS

    chosen = {
        "checkpoints": checkpoints,
        "weights": weights,
        "samples": samples,
        "logs": logs,
    }
    kinds = [
        kind for kind in KINDS if chosen.get(kind) or (all_but_results and kind in _NOT_RESULTS)
    ]
    if yes and (dry_run or not kinds):
        wrong = "`--dry-run` besides" if dry_run else "none of them"
        msg = (
            "`--yes` must come with what is to go, --checkpoints, --weights, --samples, --logs or "
            f"--all-but-results, but got {wrong}."
        )
        raise ArgumentError(msg)
    untouched_s = None if older_than is None else _seconds_of(older_than)
    cleaned = [
        _clean(directory, kinds or KINDS, is_asked=yes, untouched_s=untouched_s)
        for directory in directories
    ]
    refused = [each for each in cleaned if each.kept_because]
    if len(refused) == len(cleaned) and not untouched_s:
        raise RunDirectoryError(" ".join(str(each.kept_because) for each in refused))
    for each in refused:
        say(str(each.kept_because))
    if json:
        print_json([asdict(each) | {"directory": str(each.directory)} for each in cleaned])
    _print_cleaned(cleaned, is_asked=yes)
    return opt.SOME_FAILED if any(_is_wrong(each) for each in refused) else opt.DONE


def _is_wrong(cleaned: _Cleaned) -> bool:
    """Return whether a directory that was left is a sweep; ``runs/*`` also names MLflow's store."""
    return (cleaned.directory / "manifest.json").exists()


def _clean(
    directory: Path, kinds: Sequence[str], *, is_asked: bool, untouched_s: float | None
) -> _Cleaned:
    from rlp_sweeps.tracking.leftovers import remove, touched_at
    from rlp_sweeps.tracking.run_directory import RunDirectory

    cleaned = _Cleaned(directory=directory)
    try:
        opened = RunDirectory.open(directory)
        if untouched_s is not None and time.time() - touched_at(opened.path) < untouched_s:
            return cleaned
        if opened.is_held():
            cleaned.kept_because = f"{directory} is at work and left as it is."
            return cleaned
        kinds = _without_needed(opened, kinds)
        spared = _needed_logs(opened) if "logs" in kinds else ()
        if not is_asked:
            cleaned.sizes = _sizes(opened, kinds, spared)
            return cleaned
        with opened.held():
            cleaned.sizes = remove(opened, kinds, spared=spared)
            cleaned.is_removed = True
    except OSError as error:
        cleaned.kept_because = f"{directory} must be writable, but it is not ({error})."
    except RlpSweepsError as error:
        cleaned.kept_because = str(error)
    return cleaned


def _sizes(
    opened: "RunDirectory", kinds: Sequence[str], spared: Collection[Path] = ()
) -> "dict[str, Size]":
    from rlp_sweeps.tracking.leftovers import removable

    sizes = removable(opened, spared=spared)
    return {kind: size for kind, size in sizes.items() if kind in kinds}


def _needed_logs(opened: "RunDirectory") -> set[Path]:
    """Return the logs of groups that go on, and say that they stay."""
    from rlp_sweeps.orchestration.trial_log import unfinished_groups
    from rlp_sweeps.tracking.group_log import groups_with_log

    logged = groups_with_log(opened.path)
    needed = logged & unfinished_groups(opened) if logged else logged
    if needed:
        say(f"{len(needed)} log(s) of {opened.path} stay: trials of their groups are left.")
    return {opened.log_path(group_id) for group_id in needed}


def _without_needed(opened: "RunDirectory", kinds: Sequence[str]) -> list[str]:
    """Leave checkpoints out where trials are left that go on from them, and say so."""
    from rlp_sweeps.orchestration.status import sweep_status

    if "checkpoints" not in kinds or not _sizes(opened, ["checkpoints"])["checkpoints"].num_files:
        return list(kinds)
    num_left = sweep_status(opened.path).num_remaining
    if not num_left:
        return list(kinds)
    say(
        f"checkpoints of {opened.path} stay: {num_left} trials are left, and `rlp-sweeps resume` "
        "goes on from them."
    )
    return [kind for kind in kinds if kind != "checkpoints"]


def _seconds_of(text: str) -> float:
    """Return an age in seconds: ``12h``, ``30d``, ``2w``.

    Raises:
        ArgumentError: It is written in another way.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text)
    if match is None:
        msg = f"`--older-than` must be hours, days or weeks, as 12h, 30d or 2w, but got {text!r}."
        raise ArgumentError(msg)
    return float(match[1]) * _UNITS[match[2]]


def _print_cleaned(cleaned: Sequence[_Cleaned], *, is_asked: bool) -> None:
    from rich.table import Table

    from rlp_sweeps.cli.printing import in_bytes, print_whole, stdout
    from rlp_sweeps.tracking.leftovers import Size

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("directory", "kind", "files", "size"):
        table.add_column(name, justify="right" if name in {"files", "size"} else "left")
    total = Size()
    for each in cleaned:
        for kind, size in each.sizes.items():
            if size.num_files:
                row = (kind, str(size.num_files), in_bytes(size.num_bytes))
                table.add_row(opt.plain(str(each.directory)), *row)
                total += size
    if table.row_count:
        print_whole(stdout(), table)
    what = f"{in_bytes(total.num_bytes)} in {total.num_files} files"
    tell_result(
        f"removed: {what}" if is_asked else f"would be removed: {what}; nothing is without --yes"
    )
