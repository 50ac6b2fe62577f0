"""Commands that read what a sweep left: analyze, query, sync, ui."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from rlp_sweeps.benign_columns import MEMORIZED_ABOVE
from rlp_sweeps.cli import completion
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.output import is_quiet, results, tell_result
from rlp_sweeps.errors import ArgumentError, RunDirectoryError
from rlp_sweeps.run_places import absent_directory
from rlp_sweeps.stores import as_path, is_remote

if TYPE_CHECKING:
    from analysis.pairing import Diverged
    from analysis.tables import Analysis
    from rlp_sweeps.tracking.mlflow_tracker import SyncReport

QUERY_FORMATS = ("table", "csv", "json", "markdown", "parquet")
DIVERGED = ("chance", "last", "exclude")

Output = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        parser=as_path,
        help="Where to write. Default: analysis/ of the first DIR.",
    ),
]


def analyze(  # noqa: PLR0913  # each is asked for on the command line
    directories: Annotated[
        list[Path], opt.directory_argument("Run directories, analyzed together.", metavar="DIR...")
    ],
    *,
    outcome: opt.Outcome = "test_accuracy",
    diverged: Annotated[
        str,
        typer.Option(
            metavar="|".join(DIVERGED),
            autocompletion=completion.one_of(*DIVERGED),
            help="What a diverged trial scores.",
        ),
    ] = "chance",
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Largest effect that counts as none in tests of equivalence, in units of the "
            "outcome. Default: 0.005 for accuracies, none for others.",
        ),
    ] = None,
    memorized_above: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Share of random class labels (label_corruption=1) above which they count as "
            "memorized, interval included.",
        ),
    ] = MEMORIZED_ABOVE,
    output: Output = None,
    json: opt.AsJson = False,
) -> int:
    """Separate the effects and write the report.

    Tables, figures and report.html go to DIR/analysis, the verdict to stdout. Exit status 2:
    regularized trials have no control to be compared with; the report holds what is left to tell.
    """
    opt.check_choice("--diverged", diverged, DIVERGED)
    treatment = cast("Diverged", diverged)
    separation = analyze_and_print(
        directories,
        outcome=outcome,
        diverged=treatment,
        margin=margin,
        memorized_above=memorized_above,
        output=output,
        is_json=json,
    ).separation
    if is_quiet():
        tell_result(f"report: {_report_in(directories, output)}")
    if separation.is_refused:
        opt.say(f"there is nothing to separate: {separation.missing} {separation.way_out}")
        return opt.WRONG_REQUEST
    return opt.DONE


def analyze_and_print(  # noqa: PLR0913  # each is asked for on the command line
    directories: Sequence[Path],
    *,
    outcome: str = "test_accuracy",
    diverged: "Diverged" = "chance",
    margin: float | None = None,
    memorized_above: float = MEMORIZED_ABOVE,
    output: Path | None = None,
    is_json: bool = False,
) -> "Analysis":
    """Analyze run directories together and print the verdict on stdout.

    Raises:
        ArgumentError: A directory cannot be read, or the outcome is unknown.
    """
    from analysis.tables import analyze as analyze_directories
    from rlp_sweeps.cli.printing import print_analysis, print_json

    result = analyze_directories(
        directories,
        output=output,
        outcome=outcome,
        diverged=diverged,
        margin=margin,
        memorized_above=memorized_above,
    )
    if is_json:
        print_json(result.to_json())
    else:
        print_analysis(result)
        print(f"report: {_report_in(directories, output)}")
    return result


def _report_in(directories: Sequence[Path], output: Path | None) -> Path:
    return (output or directories[0] / "analysis") / "report.html"


def query(
    directory: opt.Directory,
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="[SQL]",
            help="SELECT … over the tables trials, epochs, probes, samples, effects and more. "
            "Without it: the tables that there are, their columns, types and meaning.",
        ),
    ] = None,
    *,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(QUERY_FORMATS),
            autocompletion=completion.one_of(*QUERY_FORMATS),
            help="How to print rows. A table on a terminal shows the columns that fit, or a few "
            "wide rows one by one; all else is whole.",
        ),
    ] = "table",
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Ask a sweep's tables by SQL, read-only.

    \b
        rlp-sweeps query DIR
        rlp-sweeps query DIR "SELECT arm, lr, avg(test_accuracy) FROM trials GROUP BY arm, lr"
        rlp-sweeps query DIR "SELECT trial_id, error FROM trials WHERE status = 'failed'"
        rlp-sweeps query DIR "SELECT t.arm, e.epoch, avg(e.val_accuracy) AS val_accuracy
          FROM trials t JOIN epochs e ON t.trial_id = e.trial_id GROUP BY t.arm, e.epoch"
        rlp-sweeps query DIR "SELECT effect, estimate, ci_low, ci_high FROM effects_pooled
          WHERE estimator = 'arms' AND outcome = 'test_accuracy'" --format markdown
        rlp-sweeps query DIR "SELECT * FROM trials" --format csv > trials.csv
    """  # noqa: D301  # the backspace keeps the lines as they are
    opt.check_choice("--format", format_, QUERY_FORMATS)
    if json and format_ not in {"table", "json"}:
        msg = f"rows are printed in one format, but got `--json` and `--format {format_}`."
        raise ArgumentError(msg)
    format_ = "json" if json else format_
    if format_ == "parquet" and sys.stdout.isatty():
        msg = "Parquet is no text; send it to a file: `--format parquet > rows.parquet`."
        raise ArgumentError(msg)

    from analysis.query import format_frame
    from rlp_sweeps.api.reading import describe_tables
    from rlp_sweeps.api.reading import query as query_directory
    from rlp_sweeps.cli.printing_tables import print_rows, print_tables

    if sql is None and format_ == "table":
        print_tables(describe_tables(directory))
        return
    found = describe_tables(directory) if sql is None else query_directory(directory, sql)
    if format_ == "table":
        print_rows(found)
        return
    rows = format_frame(found, format_)
    if isinstance(rows, bytes):
        sys.stdout.buffer.write(rows)
    else:
        shown = rows.rstrip("\n")
        print(opt.plain(shown) if results().isatty() else shown, file=results())


def sync(
    directory: opt.Directory, *, tracking_uri: opt.TrackingUri = None, json: opt.AsJson = False
) -> None:
    """Rebuild MLflow from the files; repeatable, no duplicates."""
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.tracking.mlflow_tracker import sync as sync_directory
    from rlp_sweeps.tracking.mlflow_tracker import without_password
    from rlp_sweeps.tracking.run_directory import RunDirectory

    report = sync_directory(RunDirectory.open(directory), tracking_uri)
    where = without_password(report.tracking_uri)
    if json:
        print_json({**asdict(report), "tracking_uri": where})
        return
    tell_result(
        f"experiment {report.experiment_name!r} at {where}: "
        f"{report.num_runs_created} runs created, {report.num_runs_updated} updated, "
        f"{report.num_runs_unchanged} unchanged, {report.num_runs_closed} closed, "
        f"{report.num_runs_removed} removed; {report.num_artifacts} artifacts{_models_of(report)}"
    )


def _models_of(report: "SyncReport") -> str:
    """Return what was done to models, for a sentence; nothing where there was nothing to do."""
    done = {"added": report.num_models_added, "removed": report.num_models_removed}
    words = ", ".join(f"{number} models {word}" for word, number in done.items() if number)
    return f"; {words}" if words else ""


def ui(
    directory: Annotated[
        Path,
        opt.directory_argument("A run directory, or the folder of several.", metavar="[DIR]"),
    ] = Path("runs"),
    *,
    port: Annotated[int, typer.Option(metavar="N", help="Port on loopback; 0: a free one.")] = 5000,
    tracking_uri: opt.TrackingUri = None,
) -> None:
    """Open the MLflow UI of a store, on loopback."""
    from rlp_sweeps.tracking.mlflow_tracker import serve_ui
    from rlp_sweeps.tracking.run_directory import RunDirectory

    if tracking_uri is None and not is_remote(directory) and not directory.is_dir():
        raise RunDirectoryError(absent_directory(directory))
    if (directory / "manifest.json").is_file():
        RunDirectory.open(directory)  # refuses one of a newer version
    serve_ui(directory, tracking_uri=tracking_uri, port=port)
