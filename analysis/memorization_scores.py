"""Memorization scores: what a sample's presence in training does to its own prediction.

Every trial of a cell and arm is one training on a subset of its own; trials that did not see a
sample are those whose subset, split or validation part left it out.

Source:
    Feldman and Zhang 2020, "What Neural Networks Memorize and Why", NeurIPS, arXiv:2008.03703,
    section 1.1 (definition) and 2.1 (subset estimator).
"""

from typing import Any

import polars as pl

from analysis.pairing import cell_columns
from analysis.rank_statistics import Estimate, auroc, spearman
from analysis.samples import POOL, Samples, collect
from rlp_sweeps.score_columns import MEMORIZATION_SCORES, SCORE_COMPARISON

MEMORIZED = 0.25
"""Score from which a sample counts as memorized, as in the source."""

CELL = "_cell"
"""Number of a cell and arm."""

_VALUES = tuple(column.name for column in MEMORIZATION_SCORES[4:])
_COMPARED = tuple(column.name for column in SCORE_COMPARISON[4:])


def number_cells(trials: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the cells with completed trials, by arm, and which of them each trial is in.

    Args:
        trials: As `load_trials` returns them.

    Returns:
        The cell columns, `arm` and `CELL`; and `trial_id` with `CELL`.
    """
    keys = [*cell_columns(trials), "arm"]
    completed = trials.filter(pl.col("status") == "completed")
    cells = completed.select(keys).unique().sort(keys, nulls_last=True)
    cells = cells.with_row_index(CELL).with_columns(pl.col(CELL).cast(pl.Int64))
    places = completed.select("trial_id", *keys).join(
        cells, on=keys, nulls_equal=True, validate="m:1"
    )
    return cells.select(*keys, CELL), places.select("trial_id", CELL)


def score_samples(samples: Samples, trials: pl.DataFrame) -> pl.DataFrame:
    """Return one row a cell, arm, sample of the pool and label (`schema.MEMORIZATION_SCORES`).

    Trials count for a sample only with the label that it had there. The score is missing where all
    trials of the cell saw the sample, or none did.

    Args:
        samples: Of the trials.
        trials: As `load_trials` returns them.

    Raises:
        SchemaError: A file cannot be read.
    """
    cells, places = number_cells(trials)
    is_seen = pl.col("is_trained")
    correct = pl.col("is_correct").cast(pl.Float64)
    counted = (
        samples.scan()
        .filter(pl.col("split") == POOL)
        .join(places.lazy(), on="trial_id", how="inner")
        .group_by(CELL, "sample_id", "label")
        .agg(
            is_planted=(pl.col("label") != pl.col("true_label")).any(),
            num_seen=is_seen.sum().cast(pl.Int64),
            num_unseen=(~is_seen).sum().cast(pl.Int64),
            accuracy_seen=correct.filter(is_seen).mean(),
            accuracy_unseen=correct.filter(~is_seen).mean(),
            rlp_confidence=pl.col("rlp_confidence").filter(is_seen).mean(),
            class_confidence=pl.col("class_confidence").filter(is_seen).mean(),
        )
    )
    scored = counted.with_columns(
        memorization_score=pl.col("accuracy_seen") - pl.col("accuracy_unseen"),
        se_bound=se_bound(pl.col("num_seen"), pl.col("num_unseen")),
        se=(_variance("seen") + _variance("unseen")).sqrt(),
    )
    rows = collect(scored).join(cells, on=CELL, how="left", validate="m:1")
    keys = [name for name in cells.columns if name != CELL]
    return rows.sort(CELL, "sample_id", "label").select(*keys, *_VALUES)


def se_bound(num_seen: pl.Expr, num_unseen: pl.Expr) -> pl.Expr:
    """Return ½ √(1/n₁ + 1/n₀), the largest standard error of a difference of two shares.

    It is that of the source, ½ √(1/(0.7 t) + 1/(0.3 t)), at the numbers that there are; null where
    one of them is 0.
    """
    both = (num_seen > 0) & (num_unseen > 0)
    return pl.when(both).then(0.5 * (1 / num_seen + 1 / num_unseen).sqrt())


def _variance(kind: str) -> pl.Expr:
    """Return the estimated variance of a share; null for fewer than two trials."""
    share, number = pl.col(f"accuracy_{kind}"), pl.col(f"num_{kind}")
    return pl.when(number >= 2).then(share * (1 - share) / (number - 1))


def compare_scores(scores: pl.DataFrame) -> pl.DataFrame:
    """Return one row a cell and arm: scores against random-label confidence.

    Columns as `schema.SCORE_COMPARISON`. Both are compared on the samples that have both.

    Args:
        scores: From `score_samples`.
    """
    keys = scores.columns[: scores.columns.index("arm") + 1]
    rows = [
        {**part.select(keys).row(0, named=True), **_compare(part)}
        for part in scores.partition_by(keys, maintain_order=True)
    ]
    dtypes = {name: scores.schema[name] for name in keys}
    counts = dict.fromkeys(("num_trials", "num_samples", "num_planted"), pl.Int64)
    return pl.DataFrame(
        rows, schema=dtypes | {name: counts.get(name, pl.Float64) for name in _COMPARED}
    )


def _compare(rows: pl.DataFrame) -> dict[str, Any]:
    a_sample = rows.group_by("sample_id").agg(num=(pl.col("num_seen") + pl.col("num_unseen")).sum())
    scored = rows.drop_nulls("memorization_score")
    both = scored.drop_nulls("rlp_confidence")
    score, confidence = (both[name].to_numpy() for name in ("memorization_score", "rlp_confidence"))
    is_planted = both["is_planted"].to_numpy()
    mean = scored.select(
        "num_seen", "num_unseen", "memorization_score", "se_bound", pl.col("se") ** 2
    ).mean()
    means = mean.row(0, named=True)
    is_memorized = scored["memorization_score"] >= MEMORIZED
    return {
        "num_trials": a_sample["num"].max(),
        "num_samples": len(scored),
        "mean_num_seen": means["num_seen"],
        "mean_num_unseen": means["num_unseen"],
        "mean_score": means["memorization_score"],
        "memorized_share": is_memorized.mean(),
        "se_bound": scored["se_bound"].max(),
        "reliability": _reliability(scored["memorization_score"].var(), means["se"]),
        **_columns("spearman", spearman(score, confidence)),
        **_columns("spearman_true", spearman(score[~is_planted], confidence[~is_planted])),
        "num_planted": int(scored["is_planted"].sum()),
        **_columns("auroc_score", auroc(score, is_planted)),
        **_columns("auroc_rlp", auroc(confidence, is_planted)),
    }


def _reliability(variance: Any, noise: float | None) -> float | None:
    if noise is None or not variance:
        return None
    return 1 - noise / float(variance)


def _columns(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {
        name: estimate.value,
        f"{name}_ci_low": estimate.low,
        f"{name}_ci_high": estimate.high,
    }
