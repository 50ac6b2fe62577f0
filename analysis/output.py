"""Write an analysis: every file is written aside first, then moved into place.

A reader sees the old files or the new ones, never half a file; an analysis that breaks off leaves
the old ones.
"""

import os
import shutil
import tempfile
from pathlib import Path

from analysis.figures import FIGURES, draw_figures
from analysis.mirror import send_file
from analysis.query import RESULT_TABLES
from analysis.report import render_report
from analysis.result import Analysis
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.stores import check_store, is_remote, refusal, store_errors

_REPORT = "report.html"


def write_analysis(analysis: Analysis, output: Path) -> None:
    """Write all tables as Parquet, the figures with data, the report.

    Files of an earlier analysis are replaced; what this one does not have is removed.

    Raises:
        RunDirectoryError: The folder cannot be written.
    """
    if is_remote(output):
        _write_to_store(analysis, output)
        return
    try:
        (output / "figures").mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=output))
    except OSError as error:
        msg = (
            f"the output folder must be writable, but {str(output)!r} is not: {error.strerror}; "
            "give another one with `--output DIR`."
        )
        raise RunDirectoryError(msg) from error
    try:
        _write_files(analysis, aside)
        _move_into_place(aside, output)
    finally:
        shutil.rmtree(aside)


def _write_to_store(analysis: Analysis, output: Path) -> None:
    """Write an analysis here, then send it file by file, the report last."""
    check_store(output)
    with tempfile.TemporaryDirectory(prefix="rlp-analysis-") as folder:
        aside = Path(folder)
        _write_files(analysis, aside)
        written = [path for path in sorted(aside.rglob("*")) if path.is_file()]
        written.sort(key=lambda path: path.name == _REPORT)
        try:
            for path in written:
                send_file(path, output / path.relative_to(aside).as_posix())
            for stale in _own_files() - {path.relative_to(aside) for path in written}:
                (output / stale.as_posix()).unlink(missing_ok=True)
        except store_errors() as error:
            raise refusal(output, error) from error


def _write_files(analysis: Analysis, folder: Path) -> None:
    for name, table in analysis.tables().items():
        table.write_parquet(folder / f"{name}.parquet")
    figures = draw_figures(analysis)
    (folder / "figures").mkdir()
    for figure in figures:
        (folder / "figures" / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
        figure.data.write_parquet(folder / "figures" / f"{figure.name}.parquet")
    (folder / _REPORT).write_text(render_report(analysis, figures), encoding="utf-8")


def _move_into_place(aside: Path, output: Path) -> None:
    written = [path.relative_to(aside) for path in sorted(aside.rglob("*")) if path.is_file()]
    for relative in written:
        os.replace(aside / relative, output / relative)
    for stale in _own_files() - set(written):
        (output / stale).unlink(missing_ok=True)


def _own_files() -> set[Path]:
    """Return what an analysis may write but for the report, relative to its folder."""
    own = {Path("figures") / f"{name}{end}" for name in FIGURES for end in (".svg", ".parquet")}
    return own | {Path(f"{name}.parquet") for name in RESULT_TABLES}
