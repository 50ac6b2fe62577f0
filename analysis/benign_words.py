"""What the table ``benign`` says in words: one sentence a cell, or counts where cells are many."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from analysis.benign import NO_PROBES, NO_SEEDS
from analysis.wording import Paragraph, format_value, quantity_of
from rlp_sweeps.benign_columns import BENIGN

MAX_CELLS = 12
"""Cells that are told one by one."""

_LEAD = "Random class labels"
_TOLD = {column.name for column in BENIGN} - {"lr", "rlp_lambda", "label_smoothing", "arm"}
_ACCURACY = quantity_of("test_accuracy")


def tell_memorization(benign: pl.DataFrame) -> Iterator[Paragraph]:
    """Yield what cells trained on random class labels came to, in the table's order."""
    if len(benign) > MAX_CELLS:
        counts = benign.group_by("verdict").len().sort("verdict", nulls_last=True)
        told = ", ".join(f"{verdict or 'no verdict'} {num}" for verdict, num in counts.iter_rows())
        yield Paragraph(
            _LEAD, f"of {len(benign)} cells and arms: {told}; the table benign.parquet has each."
        )
        return
    names = [name for name in benign.columns if name not in _TOLD]
    for row in benign.to_dicts():
        yield Paragraph(_LEAD, _sentence(row, names))


def _sentence(row: dict[str, Any], names: list[str]) -> str:
    cell = ", ".join(f"{name} {format_value(row[name])}" for name in names if name != "arm")
    verdict = row["verdict"] or _without_verdict(row)
    text = f"{row['arm']} at {cell}: {verdict}. {_recall(row)}"
    if row["num_probed_seeds"] and row["verdict"] != "not memorizing":
        text += f"; {_neighbours(row)}"
    diverged = f" {row['num_diverged']} more diverged." if row["num_diverged"] else ""
    return f"{text}.{diverged}"


def _without_verdict(row: dict[str, Any]) -> str:
    if row["reason"] == NO_SEEDS:
        seeds = "no seed" if row["num_seeds"] == 0 else "one seed"
        return f"no verdict from {seeds}"
    way_out = (
        "train it with `run --probe knn`, or probe networks kept by `run --keep-weights` with "
        "`rlp-sweeps probe DIR --probes knn`"
    )
    lacking = "not probed" if row["reason"] == NO_PROBES else "probed in one seed only"
    return f"memorizing, but {lacking}, so that benign is not told from malign: {way_out}"


def _recall(row: dict[str, Any]) -> str:
    if row["train_accuracy"] is None:
        return "No trial was completed"
    interval = ""
    if row["train_accuracy_ci_low"] is not None:
        low, high = row["train_accuracy_ci_low"], row["train_accuracy_ci_high"]
        interval = f" [{low:.4f}, {high:.4f}]"
    seeds = f"n = {row['num_seeds']} seed{'s' * (row['num_seeds'] != 1)}"
    return (
        f"Accuracy on the random labels trained on is {row['train_accuracy']:.4f}{interval}, bound "
        f"{format_value(row['memorized_above'])} ({seeds})"
    )


def _neighbours(row: dict[str, Any]) -> str:
    over = {
        reference: _ACCURACY.with_interval(
            *(row[f"over_{reference}{end}"] for end in ("", "_ci_low", "_ci_high"))
        )
        for reference in ("random_init", "pixels")
    }
    return (
        f"kNN on true labels scores {row['knn_trained']:.4f} on test, {over['random_init']} over "
        f"the network before training and {over['pixels']} over pixels (n = "
        f"{row['num_probed_seeds']}, layers chosen on validation, mostly {row['attach_point']})"
    )
