"""Write an analysis: every file is written aside first, then moved into place.

A reader sees the old files or the new ones, never half a file; an analysis that breaks off leaves
the old ones.
"""

import os
import shutil
import tempfile
from pathlib import Path

from analysis.figures import FIGURES, draw_figures
from analysis.query import RESULT_TABLES
from analysis.report import render_report
from analysis.result import Analysis
from rlp_sweeps.errors import RunDirectoryError


def write_analysis(analysis: Analysis, output: Path) -> None:
    """Write all tables as Parquet, the figures with data, the report.

    Files of an earlier analysis are replaced; what this one does not have is removed.

    Raises:
        RunDirectoryError: The folder cannot be written.
    """
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


def _write_files(analysis: Analysis, folder: Path) -> None:
    for name, table in analysis.tables().items():
        table.write_parquet(folder / f"{name}.parquet")
    figures = draw_figures(analysis)
    (folder / "figures").mkdir()
    for figure in figures:
        (folder / "figures" / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
        figure.data.write_parquet(folder / "figures" / f"{figure.name}.parquet")
    (folder / "report.html").write_text(render_report(analysis, figures), encoding="utf-8")


def _move_into_place(aside: Path, output: Path) -> None:
    written = [path.relative_to(aside) for path in sorted(aside.rglob("*")) if path.is_file()]
    for relative in written:
        os.replace(aside / relative, output / relative)
    own = {Path("figures") / f"{name}{end}" for name in FIGURES for end in (".svg", ".parquet")}
    own |= {Path(f"{name}.parquet") for name in RESULT_TABLES}
    for stale in own - set(written):
        (output / stale).unlink(missing_ok=True)
