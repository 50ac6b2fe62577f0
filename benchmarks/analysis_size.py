"""Row f: the analysis of a million trials and ten million evaluations against pandas.

Both read the same Parquet tables (``synthetic_tables``) in a fresh process each and take turns;
their tables are compared number by number, to 1e-9, before a ratio is formed. Time counts from
after the imports to the finished tables; the peak is the process's largest resident memory. What
is computed stands in ``baselines/pandas_analysis.py``; writing the report is timed apart.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.options import Options, run_process
from benchmarks.synthetic_tables import FULL, QUICK, write_tables
from benchmarks.table import Goal, Row
from benchmarks.timing import Ratio, median_of, medians, paired_ratio

OWN, PANDAS, FILTERED = "this tool", "pandas", "pandas, drawn evaluations only"
SIDES = {
    OWN: ("own_analysis",),
    PANDAS: ("pandas_analysis",),
    FILTERED: ("pandas_analysis", "--drawn-only"),
}
"""Module of ``benchmarks/baselines`` and flags of each side."""
TOLERANCE = 1e-9
GIB = 2**30
BUDGET_S = 240
KEYS = {
    "effects": ["outcome", "lr", "rlp_lambda", "label_smoothing", "estimator", "effect"],
    "pooled": ["outcome", "rlp_lambda", "estimator", "effect"],
    "cells": ["lr", "rlp_lambda", "label_smoothing", "arm"],
    "curves": ["lr", "rlp_lambda", "arm", "metric", "epoch"],
}
"""Tables that both sides write, and what one row of each is."""

Found = dict[str, list[dict[str, Any]]]


def measure(options: Options) -> Iterator[Row]:
    """Yield rows on time, on memory and on the report."""
    design = QUICK if options.is_quick else FULL
    sizes = f"{design.num_trials:,} trials, {design.num_trials * design.evaluations:,} evaluations"
    with tempfile.TemporaryDirectory(prefix="rlp-bench-") as folder:
        found = run_sides(Path(folder), options)
    seconds = {name: [run["time_s"] for run in runs] for name, runs in found.items()}
    loads = {name: [run["load_s"] for run in runs] for name, runs in found.items()}
    cpu = {name: [run["cpu_s"] for run in runs] for name, runs in found.items()}
    yield Row(
        letter="f",
        what=f"analysis of {sizes}",
        against="the same numbers in pandas, both tables read whole",
        value=paired_ratio(seconds, PANDAS, OWN),
        measure="times faster",
        how=f"{medians(seconds)}; CPU time {medians(cpu)}; of it loading {medians(loads)}",
    )
    yield Row(
        letter="f",
        what=f"analysis of {sizes}",
        against="the same in pandas, where a filter leaves out evaluations that are not drawn",
        value=paired_ratio(seconds, FILTERED, OWN),
        measure="times faster",
        goal=Goal(rule=">=", bound=5.0),
        how="both sides skip the same evaluations",
    )
    yield from _memory_rows(found)


def _memory_rows(found: Found) -> Iterator[Row]:
    """Yield the peaks of all sides, and what the report takes besides."""
    peaks = {name: median_of([r["peak_bytes"] / GIB for r in runs]) for name, runs in found.items()}
    yield Row(
        letter="f",
        what="its peak memory",
        against="",
        value=peaks[OWN],
        measure="GiB",
        goal=Goal(rule="<=", bound=2.0),
        how=f"pandas {peaks[PANDAS]} GiB, with the filter {peaks[FILTERED]} GiB",
    )
    first = found[OWN][0]
    yield Row(
        letter="f",
        what="figures, tables and report of that analysis",
        against="",
        value=Ratio(first["report_s"], None, None, 1),
        measure="s",
        how=f"peak then {first['report_peak_bytes'] / GIB:.2f} GiB",
    )


def run_sides(folder: Path, options: Options) -> Found:
    """Return what each side printed, round by round, after comparing the first round's tables."""
    write_tables(folder / "tables", QUICK if options.is_quick else FULL)
    found: Found = {side: [] for side in SIDES}
    started = time.perf_counter()
    for number in range(2 if options.is_quick else 7):
        if number and time.perf_counter() - started > BUDGET_S * number / (number + 1):
            break
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            module, *flags = SIDES[side]
            output = folder / side
            output.mkdir(exist_ok=True)
            flags += ["--report"] if side == OWN and number == 0 else []
            command = ["-m", f"benchmarks.baselines.{module}", str(folder / "tables")]
            process = run_process([*command, str(output), *flags], cwd=output)
            found[side].append(json.loads(process.stdout))
        if number == 0:
            for side in (PANDAS, FILTERED):
                compare_tables(folder / OWN, folder / side)
    return found


def compare_tables(own: Path, other: Path) -> None:
    """Refuse tables whose numbers differ.

    Raises:
        RuntimeError: Rows are missing, or a number differs by more than `TOLERANCE`.
    """
    for name, keys in KEYS.items():
        ours, theirs = (_sorted(folder / f"{name}.parquet", keys) for folder in (own, other))
        numbers = [c for c in ours.columns if c in theirs.columns and c not in keys]
        if not numbers or len(ours) != len(theirs) or not _are_same_keys(ours, theirs, keys):
            msg = f"both sides must have the same rows in {name!r}: {len(ours)}, {len(theirs)}."
            raise RuntimeError(msg)
        worst = {column: _largest_difference(ours[column], theirs[column]) for column in numbers}
        if max(worst.values()) > TOLERANCE:
            msg = f"both sides must have the same numbers in {name!r}, but differ by {worst}."
            raise RuntimeError(msg)


def _sorted(path: Path, keys: list[str]) -> pl.DataFrame:
    texts = [pl.col(name).cast(pl.String) for name in keys if name not in _NUMERIC_KEYS]
    frame = pl.read_parquet(path).with_columns(*texts, pl.col("rlp_lambda").fill_nan(None))
    return frame.sort(keys, nulls_last=True)


_NUMERIC_KEYS = {"lr", "rlp_lambda", "label_smoothing", "epoch"}


def _are_same_keys(ours: pl.DataFrame, theirs: pl.DataFrame, keys: list[str]) -> bool:
    return all(_equals(ours[key], theirs[key]) for key in keys)


def _equals(ours: pl.Series, theirs: pl.Series) -> bool:
    if ours.dtype.is_numeric():
        return _largest_difference(ours, theirs) <= TOLERANCE
    return ours.equals(theirs, check_names=False)


def _largest_difference(ours: pl.Series, theirs: pl.Series) -> float:
    """Return the largest absolute difference; infinite where only one side has a number."""
    left, right = (side.cast(pl.Float64).fill_nan(None) for side in (ours, theirs))
    if not left.is_null().equals(right.is_null(), check_names=False):
        return float("inf")
    difference = (left - right).abs().max()
    return 0.0 if difference is None else float(str(difference))
