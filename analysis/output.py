"""Write an analysis: every file is written aside first, then moved into place.

A reader sees the old files or the new ones, never half a file; an analysis that breaks off leaves
the old ones.
"""

import os
import shutil
import tempfile
from pathlib import Path

from analysis.estimators import IS_LEG
from analysis.figures import FIGURES, draw_figures
from analysis.probes import PROBE_TABLES
from analysis.report import render_report
from analysis.result import Analysis
from rlp_sweeps.errors import RunDirectoryError


def write_analysis(analysis: Analysis, output: Path) -> None:
    """Write effects, their legs and cells as Parquet, the figures with data, the report.

    Files of an earlier analysis are replaced; figures and tables of
    probes that this one does not have are removed.

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
    tables = {"effects": analysis.effects, "effects_pooled": analysis.effects_pooled}
    for name, table in tables.items():
        table.filter(~IS_LEG).write_parquet(folder / f"{name}.parquet")
        table.filter(IS_LEG).write_parquet(folder / f"{name}_legs.parquet")
    analysis.cells.write_parquet(folder / "cells.parquet")
    parts = (analysis.secondary, analysis.probed, analysis.memorization)
    for name, table in (pair for part in parts if part for pair in part.tables().items()):
        table.write_parquet(folder / f"{name}.parquet")
    if analysis.claims is not None and analysis.claim_values is not None:
        analysis.claims.write_parquet(folder / "claims.parquet")
        analysis.claim_values.write_parquet(folder / "claim_values.parquet")
    if analysis.benign is not None:
        analysis.benign.write_parquet(folder / "benign.parquet")
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
    own |= {Path(f"{name}.parquet") for name in PROBE_TABLES}
    for stale in own - set(written):
        (output / stale).unlink(missing_ok=True)
