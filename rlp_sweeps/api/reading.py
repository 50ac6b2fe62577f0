"""Read what a sweep left: effects, trials, and whatever SQL asks for, as polars frames."""

from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.benign_columns import MEMORIZED_ABOVE

if TYPE_CHECKING:
    import polars as pl

    from analysis.pairing import Diverged
    from analysis.result import Analysis


def analyze(  # each is asked for on the command line
    *directories: Path | str,
    output: Path | str | None = None,
    outcome: str = "test_accuracy",
    diverged: "Diverged" = "chance",
    margin: float | None = None,
    memorized_above: float = MEMORIZED_ABOVE,
    write: bool = True,
) -> "Analysis":
    """Separate the effects, as ``rlp-sweeps analyze`` does, and return verdict and frames.

    Args:
        directories: Run directories, analyzed together.
        output: Folder to write tables, figures and report.html to. Default: ``analysis/`` of the
            first directory.
        outcome: The metric that effects are on.
        diverged: What a diverged trial scores: ``chance``, its ``last`` finite evaluation, or
            nothing (``exclude``).
        margin: Largest effect that counts as none, in units of the outcome. Default: 0.005 for
            accuracies, none for others.
        memorized_above: Share of random class labels above which they count as memorized.
        write: Write files; False reads only.

    Raises:
        ArgumentError: The outcome, the treatment of divergence, margin or bound is wrong.
        RunDirectoryError: A directory is absent, empty or of a newer version, none was given, or
            the output cannot be written.
        SchemaError: A table breaks the schema.
    """
    from analysis.tables import analyze as analyze_directories
    from analysis.tables import read_analysis
    from rlp_sweeps.errors import RunDirectoryError

    if not directories:
        msg = "at least one run directory must be given, but got none."
        raise RunDirectoryError(msg)
    if not write:
        return read_analysis(
            directories,
            outcome=outcome,
            diverged=diverged,
            margin=margin,
            memorized_above=memorized_above,
        )
    return analyze_directories(
        directories,
        output=output,
        outcome=outcome,
        diverged=diverged,
        margin=margin,
        memorized_above=memorized_above,
    )


def load_trials(*directories: Path | str) -> "pl.DataFrame":
    """Return one row a trial, with the columns that the analysis reads (docs/results.md).

    A trial that stands in several directories comes once. Every other column, such as times and
    machines, is had by `query`.

    Raises:
        RunDirectoryError: A directory is absent, holds no trials, or is of a newer version.
        SchemaError: A table breaks the schema.
    """
    from analysis.load import load_trials as load
    from analysis.mirror import local_directories

    with local_directories(directories, tables=("trials",)) as paths:
        return load(paths)


def load_epochs(*directories: Path | str) -> "pl.DataFrame":
    """Return one row a trial and evaluation (docs/results.md).

    Raises:
        RunDirectoryError: A directory is absent.
        SchemaError: A table breaks the schema.
    """
    from analysis.load import load_epochs as load
    from analysis.mirror import local_directories

    with local_directories(directories, tables=("epochs",)) as paths:
        return load(paths)


def load_log(directory: Path | str, trial: str) -> "pl.DataFrame":
    """Return what the log of a trial's group holds of it, one row a line; it need not have ended.

    Args:
        directory: The run directory.
        trial: The trial's id, or how it begins.

    Returns:
        ``time`` (UTC, to the ms; null of what a crashed process left), ``source`` (the trial's id,
        ``group``, ``stdout``, ``stderr``, ``warning``, ``logging`` or ``crash``) and ``text``.

    Raises:
        RunDirectoryError: It is no run directory, none or several of its trials begin so, or the
            trial has no log.
    """
    import polars as pl

    from rlp_sweeps.orchestration.trial_log import find_log
    from rlp_sweeps.tracking.files import run_path

    lines = find_log(run_path(directory), trial).lines()
    columns = {"time": pl.Datetime("ms", "UTC"), "source": pl.String(), "text": pl.String()}
    return pl.DataFrame(lines, schema=columns, orient="row")


def query(directory: Path | str, sql: str) -> "pl.DataFrame":
    """Return the rows of one SELECT over the tables of a run directory, read-only.

    Raises:
        QueryError: The SQL is wrong, names an unknown table or column, writes, or opens files.
        RunDirectoryError: The directory is absent or holds no tables.
        SchemaError: A file is unreadable.
    """
    from analysis.query import query as query_directory

    return query_directory(directory, sql)


def describe_tables(directory: Path | str) -> "pl.DataFrame":
    """Return one row a table and column of a run directory: its type, unit and meaning.

    Raises:
        RunDirectoryError: The directory is absent or holds no tables.
        SchemaError: A file is unreadable.
    """
    from analysis.table_columns import describe_tables as describe

    return describe(directory)
