"""This package's analysis, timed part by part; the other side of ``pandas_analysis``.

    python -m benchmarks.baselines.own_analysis DIR OUTPUT [--report]

Effects, cells, notes, verdict and learning curves are timed together, as ``rlp-sweeps analyze``
computes them. With `--report` figures and report are written as well, and timed apart.
"""

import argparse
import json
import resource
import time
from pathlib import Path

from analysis.figure_curves import curve_data, drawn_trials
from analysis.load import load_epochs, load_sweep
from analysis.output import write_analysis
from analysis.result import EPOCH_COLUMNS, build_analysis

ESTIMATORS = ("arms", "sham")
"""Estimators that the other side computes, too."""


def main(given: list[str] | None = None) -> None:
    """Analyze a directory; print seconds and peak memory as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args(given)
    start, cpu_start = time.perf_counter(), time.process_time()
    trials, origin = load_sweep([arguments.directory])
    drawn = drawn_trials(trials)["trial_id"]
    epochs = load_epochs([arguments.directory], columns=list(EPOCH_COLUMNS), trial_ids=drawn)
    loaded = time.perf_counter()
    result = build_analysis(trials, epochs, origin=origin, estimators=ESTIMATORS)
    curves = curve_data(result)
    end = time.perf_counter()
    found = {
        "time_s": end - start,
        "cpu_s": time.process_time() - cpu_start,
        "load_s": loaded - start,
        "peak_bytes": _peak_bytes(),
    }
    if arguments.report:
        write_analysis(result, arguments.output / "analysis")
        found |= {"report_s": time.perf_counter() - end, "report_peak_bytes": _peak_bytes()}
    print(json.dumps(found))
    tables = (result.effects, result.effects_pooled, result.cells, curves)
    for name, table in zip(("effects", "pooled", "cells", "curves"), tables, strict=True):
        table.write_parquet(arguments.output / f"{name}.parquet")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
