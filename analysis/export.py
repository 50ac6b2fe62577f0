"""Tables for other programs and for papers: CSV, Parquet, Markdown, LaTeX."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import polars as pl

from analysis.mirror import local_directories, send_files
from analysis.query import PART_TABLES, RESULT_TABLES, scan_tables
from analysis.report_tables import (
    Table,
    cells_table,
    claims_table,
    counts_table,
    effects_table,
    pooled_table,
)
from analysis.result import Analysis
from rlp_sweeps.errors import ArgumentError, RunDirectoryError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.stores import is_remote

RAW = {"csv": ".csv", "parquet": ".parquet"}
"""Formats of the tables as `query` sees them, and how their files end."""

READABLE = {"markdown": ".md", "latex": ".tex"}
"""Formats of the report's tables, and how their files end."""

T = TypeVar("T")

LARGE = ("samples",)
"""Tables that are exported only where they are named."""

_IN_MATH = {
    "λ": r"\lambda",
    "ε": r"\varepsilon",
    "κ": r"\kappa",
    "η": r"\eta",
    "−": "-",
    "×": r"\times",
    "≤": r"\leq",
    "≥": r"\geq",
    "±": r"\pm",
    "→": r"\to",
    "′": r"^{\prime}",
    "Σ": r"\Sigma",
}
_IN_TEXT = {"–": "--", "…": r"\dots{}", "’": "'", "“": "``", "”": "''"}


def export_tables(
    directory: Path, *, format_: str, output: Path, tables: Sequence[str] = ()
) -> list[Path]:
    """Write tables of a run directory, one file each, and return their paths.

    Args:
        directory: The run directory.
        format_: ``csv`` or ``parquet``: the tables as `query` sees them; ``markdown`` or ``latex``:
            those of the report, as texts.
        output: Folder to write to; files of these names are replaced.
        tables: Names of the tables. Default: all but `LARGE` ones.

    Raises:
        ArgumentError: There is no such table or format.
        RunDirectoryError: The directory holds no tables, or the folder cannot be written.
        SchemaError: A file is unreadable.
    """
    if format_ not in {**RAW, **READABLE}:
        msg = f"the format must be one of {[*RAW, *READABLE]}, but got {format_!r}."
        raise ArgumentError(msg)
    if is_remote(output):
        with TemporaryDirectory(prefix="rlp-export-") as folder:
            written = export_tables(directory, format_=format_, output=Path(folder), tables=tables)
            return send_files(written, output)
    brought = [n for n in PART_TABLES if (n in tables if tables else n not in LARGE)] or ["trials"]
    try:
        if format_ in RAW:
            with local_directories([directory], tables=brought, results=RESULT_TABLES) as (copy,):
                frames = _chosen(scan_tables(copy), tables, leaves_out=LARGE)
                return _write_raw(frames, format_, output)
        return _write_readable(_chosen(_read_report(directory), tables), format_, output)
    except OSError as error:
        msg = f"the output folder must be writable, but {str(output)!r} is not: {error.strerror}."
        raise RunDirectoryError(msg) from error


def _chosen(
    found: Mapping[str, T], wanted: Sequence[str], *, leaves_out: Iterable[str] = ()
) -> dict[str, T]:
    unknown = [name for name in wanted if name not in found]
    if unknown:
        there = f"there are {list(found)}."
        msg = f"no table(s) {unknown} to export; {advice(unknown[0], found, otherwise=there)}"
        raise ArgumentError(msg)
    names = wanted or [name for name in found if name not in set(leaves_out)]
    return {name: found[name] for name in names}


def _write_raw(frames: Mapping[str, pl.LazyFrame], format_: str, output: Path) -> list[Path]:
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for name, frame in frames.items():
        path = output / f"{name}{RAW[format_]}"
        if format_ == "csv":
            frame.sink_csv(path)
        else:
            frame.sink_parquet(path)
        written.append(path)
    return written


def _read_report(directory: Path) -> dict[str, Table]:
    from analysis.tables import read_analysis

    return report_tables(read_analysis([directory]))


def report_tables(analysis: Analysis) -> dict[str, Table]:
    """Return the report's tables by name."""
    tables = {"counts": counts_table(analysis)}
    if analysis.claims is not None:
        tables["claims"] = claims_table(analysis.claims)
    for outcome in analysis.effects_pooled["outcome"].unique(maintain_order=True).to_list():
        tables[f"effects_pooled_{outcome}"] = pooled_table(analysis, outcome)
    return tables | {"effects": effects_table(analysis), "cells": cells_table(analysis)}


def _write_readable(tables: Mapping[str, Table], format_: str, output: Path) -> list[Path]:
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables.items():
        path = output / f"{name}{READABLE[format_]}"
        text = to_latex(table, label=f"tab:{name}") if format_ == "latex" else to_markdown(table)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def to_markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown, its caption above."""
    lines = [table.header, *(["---"] * len(table.header),), *table.rows]
    cells = [[_in_markdown(cell) for cell in line] for line in lines]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f"{table.caption}\n\n{rows}\n"


def _in_markdown(cell: str) -> str:
    """Return a text as one cell: no column ends in it, and no element of HTML begins."""
    text = cell.replace("|", r"\|").replace("\n", " ")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def to_latex(table: Table, *, label: str) -> str:
    r"""Return a table for LaTeX with ``\usepackage{booktabs}``, caption and label included."""
    import pandas as pd

    frame = pd.DataFrame(list(table.rows), columns=list(table.header))
    text: str = frame.to_latex(
        index=False, escape=True, caption=_escaped(table.caption), label=label, position="htbp"
    )
    return _without_unicode(text)


def _escaped(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, rf"\{sign}")
    return text


def _without_unicode(text: str) -> str:
    for sign, command in _IN_MATH.items():
        text = text.replace(sign, f"${command}$")
    for sign, command in _IN_TEXT.items():
        text = text.replace(sign, command)
    return text
