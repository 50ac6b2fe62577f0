"""Memorization scores by cell and arm, as a table of texts."""

from analysis.memorization import Memorization, format_estimate, format_share
from analysis.report_tables import MAX_ROWS, Table
from analysis.wording import format_value


def comparison_table(memorization: Memorization) -> Table:
    """Return scores against random-label confidence, one row a cell and arm."""
    comparison = memorization.comparison
    names = comparison.columns[: comparison.columns.index("arm") + 1]
    return Table(
        caption="Memorization scores, one row a cell and arm: accuracy on a sample of the networks "
        "that saw it less that of those that did not. Intervals are over samples, for these "
        "networks (95 %; Bonett and Wright, DeLong). SE: the largest standard error of a score "
        "over trainings. All scores are in memorization_scores.parquet.",
        header=(
            *names,
            "networks",
            "samples",
            "SE ≤",
            "mean score",
            "score ≥ 0.25",
            "reliability",
            "Spearman, score and RLP confidence",
            "with true labels alone",
            "planted",
            "AUROC by score",
            "AUROC by RLP confidence",
        ),
        rows=tuple(
            (
                *(format_value(row[name]) for name in names),
                f"{row['num_trials']}",
                f"{row['num_samples']:,}",
                format_share(row["se_bound"]),
                format_share(row["mean_score"]),
                format_share(row["memorized_share"]),
                format_share(row["reliability"]),
                format_estimate(row, "spearman"),
                format_estimate(row, "spearman_true"),
                f"{row['num_planted']:,}",
                format_estimate(row, "auroc_score"),
                format_estimate(row, "auroc_rlp"),
            )
            for row in comparison.head(MAX_ROWS).iter_rows(named=True)
        ),
    )
