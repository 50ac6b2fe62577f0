"""What a run that kept its samples says of them, beside the effects of its arms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from analysis.influences import Influences, find_influences
from analysis.memorization_scores import MEMORIZED, compare_scores, score_samples
from analysis.result import Analysis
from analysis.samples import Samples
from analysis.wording import MINUS, Paragraph, format_value

MAX_TOLD = 4
"""Cells and arms that a paragraph is written about, the controls first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memorization:
    """Memorization scores and what they are compared with.

    Attributes:
        scores: One row a cell, arm, sample and label (`schema.MEMORIZATION_SCORES`).
        influences: The large ones (`schema.INFLUENCES`).
        comparison: One row a cell and arm (`schema.SCORE_COMPARISON`).
    """

    scores: pl.DataFrame
    influences: Influences
    comparison: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables that are written, by file name without its end."""
        return {
            "memorization_scores": self.scores,
            "influences": self.influences.table,
            "score_comparison": self.comparison,
        }


def with_memorization(analysis: Analysis, samples: Samples | None) -> Analysis:
    """Return the analysis with memorization scores, and what they say in words.

    Args:
        analysis: As `build_analysis` or `with_secondary` returns it.
        samples: Of its trials; the analysis is returned as it is where there are none.

    Raises:
        SchemaError: A file cannot be read, or a sample of a trial stands twice.
    """
    if samples is None:
        return analysis
    influences = find_influences(samples, analysis.trials)
    scores = score_samples(samples, analysis.trials)
    memorization = Memorization(
        scores=scores, influences=influences, comparison=compare_scores(scores)
    )
    said = (*analysis.further_paragraphs, *tell_scores(memorization))
    notes = (*analysis.notes, *influences.notes)
    return replace(analysis, memorization=memorization, further_paragraphs=said, notes=notes)


def tell_scores(memorization: Memorization) -> list[Paragraph]:
    """Return a paragraph a cell and arm, at most `MAX_TOLD`, and where the others stand."""
    comparison = memorization.comparison
    rows = controls_first(comparison).to_dicts()
    varying = varying_names(comparison)
    told = [Paragraph("Memorization scores", _tell(row, varying)) for row in rows[:MAX_TOLD]]
    if len(rows) > MAX_TOLD:
        more = f"{len(rows) - MAX_TOLD} further cells and arms stand in score_comparison.parquet."
        told.append(Paragraph("Memorization scores", more))
    return told


def controls_first(comparison: pl.DataFrame) -> pl.DataFrame:
    """Return the comparison with the rows of control arms first."""
    is_other = pl.col("arm") != "control"
    return comparison.sort(is_other, maintain_order=True)


def varying_names(comparison: pl.DataFrame) -> list[str]:
    """Return the cell columns that tell cells of the comparison apart."""
    names = comparison.columns[: comparison.columns.index("arm")]
    return [name for name in names if comparison[name].n_unique() > 1]


def name_cell(row: dict[str, Any], varying: Sequence[str]) -> str:
    """Return "full, lr 0.1", the arm and what tells its cell from others."""
    return ", ".join([row["arm"], *(f"{name} {format_value(row[name])}" for name in varying)])


def _tell(row: dict[str, Any], varying: Sequence[str]) -> str:
    place = name_cell(row, varying)
    if not row["num_samples"]:
        return (
            f"{place}: none, because no sample was both seen and left out by the "
            f"{row['num_trials']} network{'s' * (row['num_trials'] != 1)}; a sweep over seeds with "
            "subset_share below 1 leaves samples out."
        )
    text = (
        f"{place}: {row['num_trials']} networks, {row['num_samples']:,} samples, each seen by "
        f"{row['mean_num_seen']:.1f} and unseen by {row['mean_num_unseen']:.1f} on average; "
        f"{100 * row['memorized_share']:.1f} % score {MEMORIZED} or more, the mean is "
        f"{format_share(row['mean_score'])} (standard error of one score at most "
        f"{row['se_bound']:.2f}; share of their variance that is no noise of trainings: "
        f"{format_share(row['reliability'])}). {_tell_correlation(row)}"
    )
    return f"{text} {_tell_planted(row)}"


def _tell_correlation(row: dict[str, Any]) -> str:
    if row["spearman"] is None:
        return (
            "A rank correlation of score and mean random-label confidence does not exist, because "
            "one of them is the same in all samples."
        )
    return (
        "Rank correlation of score and mean random-label confidence: "
        f"{format_estimate(row, 'spearman')}."
    )


def _tell_planted(row: dict[str, Any]) -> str:
    if row["auroc_score"] is None:
        return "No mislabelled samples were planted among them."
    return (
        "Among samples with their true label alone it is "
        f"{format_estimate(row, 'spearman_true')}. "
        f"The {row['num_planted']:,} planted labels are told from the others with an area under "
        f"the ROC curve of {format_estimate(row, 'auroc_score')} by score and "
        f"{format_estimate(row, 'auroc_rlp')} by random-label confidence. Intervals are over "
        "samples, for these networks."
    )


def format_share(value: float | None) -> str:
    """Return a share in three decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}".replace("-", MINUS)


def format_estimate(row: dict[str, Any], name: str) -> str:
    """Return a column of the comparison with its interval, where it has one."""
    low, high = row[f"{name}_ci_low"], row[f"{name}_ci_high"]
    end = "" if low is None else f" [{format_share(low)}, {format_share(high)}]"
    return f"{format_share(row[name])}{end}"
