"""Influences: what one training sample's presence does to the prediction of another.

Source:
    Feldman and Zhang 2020, "What Neural Networks Memorize and Why", NeurIPS, arXiv:2008.03703,
    section 2.1. Deviation: without a test set of the data set's own, a sample of the pool is a
    test sample in every trial that did not see it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analysis.memorization_scores import CELL, number_cells
from analysis.samples import POOL, TEST, Samples
from rlp_sweeps.score_columns import INFLUENCES

MIN_INFLUENCE = 0.15
"""Size from which an influence is written, as in the source."""

MIN_STANDARD_ERRORS = 4.0
"""And at least so many of its largest standard errors, so that few pairs are written by noise."""

MAX_INFLUENCES = 1_000_000
"""Most influences of a cell that are written, the largest."""

MAX_MARKS = 2**28
"""Trials times samples up to which influences are computed: a quarter of a GiB an array of marks,
of which there are three."""

_BLOCK = 2**22  # pairs at a time: 16 MiB an array of float32
_VALUES = tuple(column.name for column in INFLUENCES[4:])

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Influences:
    """Influences of all cells.

    Attributes:
        table: One row a cell, arm, training and test sample (`schema.INFLUENCES`), the largest
            first.
        notes: What was left out, one sentence each.
    """

    table: pl.DataFrame
    notes: tuple[str, ...] = field(default=())


def find_influences(samples: Samples, trials: pl.DataFrame) -> Influences:
    """Return every influence that is at least `MIN_INFLUENCE` and told from noise.

    Training samples that had another label in another trial of the cell are left out, and of test
    samples in the pool those with a planted label.

    Args:
        samples: Of the trials.
        trials: As `load_trials` returns them.

    Raises:
        SchemaError: A sample of a trial stands twice, or a file cannot be read.
    """
    cells, places = number_cells(trials)
    keys = [name for name in cells.columns if name != CELL]
    tables: list[pl.DataFrame] = []
    notes: list[str] = []
    for cell in cells.iter_rows(named=True):
        ids = places.filter(pl.col(CELL) == cell[CELL])["trial_id"].sort().to_list()
        marks = _read_marks(samples, ids)
        if isinstance(marks, str):
            notes.append(f"Influences of arm {cell['arm']} at lr {cell['lr']:g}: {marks}")
        elif marks is not None:
            names = [pl.lit(cell[name], cells.schema[name]).alias(name) for name in keys]
            found = _influences(marks)
            if len(found) > MAX_INFLUENCES:
                notes.append(
                    f"Of {len(found):,} influences of arm {cell['arm']} at lr {cell['lr']:g} the "
                    f"largest {MAX_INFLUENCES:,} are written."
                )
            tables.append(found.head(MAX_INFLUENCES).select(*names, *_VALUES))
    empty = pl.DataFrame(schema={name: cells.schema[name] for name in keys} | _schema())
    return Influences(table=pl.concat([empty, *tables]), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Marks:
    """Which trial saw what, t trials.

    Attributes:
        sample_ids: Training samples, ``[n]``.
        is_seen: ``[t, n]``.
        test_split: Split of the test samples.
        test_ids: ``[m]``.
        is_asked: Whether the trial says something of a test sample that it did not see, ``[t, m]``.
        is_hit: And whether it is right, ``[t, m]``.
    """

    sample_ids: Integers
    is_seen: Bools
    test_split: str
    test_ids: Integers
    is_asked: Bools
    is_hit: Bools


def _read_marks(samples: Samples, trial_ids: Sequence[str]) -> _Marks | str | None:
    """Return what the trials saw and said; why not, where it is too much; None without samples."""
    pools: list[pl.DataFrame] = []
    tests: list[pl.DataFrame] = []
    size = 0
    for read in samples.of_trials(trial_ids):
        size += len(read)
        if size > MAX_MARKS:
            return f"left out, because {MAX_MARKS:,} trials times samples are the most."
        rows = read.select(
            "split",
            pl.col("sample_id").cast(pl.Int32),
            pl.col("label").fill_null(-1).cast(pl.Int32),
            "is_trained",
            "is_correct",
            is_planted=(pl.col("label") != pl.col("true_label")).fill_null(value=False),
        )
        pools.append(rows.filter(pl.col("split") == POOL))
        tests.append(rows.filter(pl.col("split") == TEST))
    if not pools:
        return None
    sample_ids, is_fixed = _fixed_labels(pools)
    has_tests = any(len(rows) for rows in tests)
    targets = tests if has_tests else [rows.filter(~pl.col("is_planted")) for rows in pools]
    test_ids = np.unique(np.concatenate([rows["sample_id"].to_numpy() for rows in targets]))
    is_unseen = [rows.filter(~pl.col("is_trained")) for rows in targets]
    return _Marks(
        sample_ids=sample_ids[is_fixed],
        is_seen=_mark(sample_ids, [r.filter(pl.col("is_trained")) for r in pools])[:, is_fixed],
        test_split=TEST if has_tests else POOL,
        test_ids=test_ids,
        is_asked=_mark(test_ids, is_unseen),
        is_hit=_mark(test_ids, [rows.filter(pl.col("is_correct")) for rows in is_unseen]),
    )


def _fixed_labels(pools: Sequence[pl.DataFrame]) -> tuple[Integers, Bools]:
    """Return all samples of the pool, and which of them have one label in all trials."""
    sample_ids = np.unique(np.concatenate([rows["sample_id"].to_numpy() for rows in pools]))
    low, high = (np.full(len(sample_ids), end, np.int32) for end in (2**31 - 1, -(2**31)))
    for rows in pools:
        at, labels = np.searchsorted(sample_ids, rows["sample_id"].to_numpy()), rows["label"]
        low[at] = np.minimum(low[at], labels.to_numpy())
        high[at] = np.maximum(high[at], labels.to_numpy())
    return sample_ids, low == high


def _mark(ids: Integers, rows_by_trial: Sequence[pl.DataFrame]) -> Bools:
    """Return which of the ids stand in each trial's rows, ``[t, ids]``."""
    marks = np.zeros((len(rows_by_trial), len(ids)), dtype=np.bool_)
    for trial, rows in enumerate(rows_by_trial):
        marks[trial, np.searchsorted(ids, rows["sample_id"].to_numpy())] = True
    return marks


def _influences(marks: _Marks) -> pl.DataFrame:
    """Return the influences that are large enough, the largest first, equal ones by id."""
    blocks = list(_blocks(marks))
    table = pl.concat(blocks) if blocks else pl.DataFrame(schema=_schema())
    size = pl.col("influence").abs()
    return table.sort(size, "sample_id", "test_id", descending=[True, False, False])


def _blocks(marks: _Marks) -> Iterator[pl.DataFrame]:
    asked, hit = (values.astype(np.float32) for values in (marks.is_asked, marks.is_hit))
    all_asked, all_hit = asked.sum(0), hit.sum(0)
    step = max(1, _BLOCK // max(1, len(marks.test_ids)))
    for start in range(0, len(marks.sample_ids), step):
        seen = marks.is_seen[:, start : start + step].T.astype(np.float32)
        num_seen = seen @ asked
        num_unseen = all_asked - num_seen
        hits_seen = seen @ hit
        with np.errstate(divide="ignore", invalid="ignore"):
            influence = hits_seen / num_seen - (all_hit - hits_seen) / num_unseen
            bound = 0.5 * np.sqrt(1 / num_seen + 1 / num_unseen)
            threshold = np.maximum(MIN_INFLUENCE, MIN_STANDARD_ERRORS * bound)
            is_large = np.abs(influence) >= threshold  # NaN and infinite bounds are not
        sample, test = np.nonzero(is_large)
        yield pl.DataFrame(
            {
                "sample_id": marks.sample_ids[start + sample].astype(np.int64),
                "test_split": [marks.test_split] * len(sample),
                "test_id": marks.test_ids[test].astype(np.int64),
                "influence": influence[sample, test].astype(np.float64),
                "num_seen": num_seen[sample, test].astype(np.int64),
                "num_unseen": num_unseen[sample, test].astype(np.int64),
                "se_bound": bound[sample, test].astype(np.float64),
            },
            schema=_schema(),
        )


def _schema() -> dict[str, Any]:
    kinds = {"i64": pl.Int64, "f64": pl.Float64, "str": pl.String}
    return {column.name: kinds[column.dtype] for column in INFLUENCES[4:]}
