"""The analysis as a value: every table, the notes, the verdict, from trials and epochs."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from analysis.cells import count_trials, summarize_cells
from analysis.claims import tell_claims
from analysis.effects import estimate
from analysis.estimators import ESTIMATORS, IS_LEG
from analysis.notes import write_notes
from analysis.origin import Origin
from analysis.pairing import Diverged, check_outcomes
from analysis.separation import Separation, judge_separation
from analysis.verdict import write_verdict
from analysis.wording import Paragraph
from rlp_sweeps.schema import STATUSES

if TYPE_CHECKING:
    from analysis.memorization import Memorization
    from analysis.probes import Probed
    from analysis.secondary import Secondary

DEFAULT_OUTCOMES = ("test_accuracy", "test_loss", "random_label_accuracy")
"""Effects are on these outcomes, the primary one first."""

EPOCH_COLUMNS = ("trial_id", "epoch", "val_accuracy", "test_accuracy", "random_label_accuracy")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Analysis:
    """What one analysis found; every frame is described in docs/results.md or at its function.

    Attributes:
        trials: One row a trial, whatever its end.
        epochs: One row a trial and evaluation, the columns `EPOCH_COLUMNS`, at least of the trials
            that curves are drawn of; may be empty.
        cells: One row a cell and arm, see `cells.summarize_cells`.
        effects: One row a cell, outcome, estimator and effect (`schema.EFFECTS`).
        effects_pooled: The same pooled over cells (`schema.EFFECTS_POOLED`).
        counts: One row an arm, trials by status.
        notes: What a reader must know about the data, one sentence each.
        separation: What of the separation the trials allow, and what is missing.
        paragraphs: The verdict's paragraphs.
        outcome: The primary outcome.
        diverged: What a diverged trial scores: chance, last or exclude.
        secondary: What `secondary.with_secondary` adds; None where it was not asked for.
        claims: What the recipe's claims came to, `schema.CLAIMS`; None where there are none.
        claim_values: One row a claim and seed, `schema.CLAIM_VALUES`.
        further_paragraphs: The verdict's paragraphs on mechanism, secondary analyses and trials on
            random class labels.
        benign: Verdicts on trials on random class labels (`schema.BENIGN`); None where it was not
            asked for.
        probed: What `probes.with_probes` adds; None where no completed trial was probed.
        memorization: Memorization scores; None where no samples were kept.
        packages: Versions of the packages that trained, by name, where the manifests tell.
    """

    trials: pl.DataFrame
    epochs: pl.DataFrame
    cells: pl.DataFrame
    effects: pl.DataFrame
    effects_pooled: pl.DataFrame
    counts: pl.DataFrame
    notes: tuple[str, ...]
    separation: Separation
    paragraphs: tuple[Paragraph, ...]
    outcome: str
    diverged: Diverged
    secondary: "Secondary | None" = None
    further_paragraphs: tuple[Paragraph, ...] = ()
    claims: pl.DataFrame | None = None
    claim_values: pl.DataFrame | None = None
    benign: pl.DataFrame | None = None
    probed: "Probed | None" = None
    memorization: "Memorization | None" = None
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict as one text."""
        return "\n".join(str(paragraph) for paragraph in self._all_paragraphs())

    def _all_paragraphs(self) -> tuple[Paragraph, ...]:
        return (*self.paragraphs, *self.claim_paragraphs, *self.further_paragraphs)

    def __repr__(self) -> str:
        return "\n".join(
            [self.verdict, *(f"Note: {note}" for note in self.notes), self._contents()]
        )

    def _repr_html_(self) -> str:
        """Return the verdict for a notebook: paragraphs, notes, names of frames."""
        said = [(paragraph.lead, paragraph.text) for paragraph in self._all_paragraphs()]
        said += [("Note", note) for note in self.notes]
        lines = [f"<p><b>{escape(lead)}:</b> {escape(text)}</p>" for lead, text in said]
        return "\n".join([*lines, f"<p>{escape(self._contents())}</p>"])

    def _contents(self) -> str:
        """Say what the tables are called."""
        return (
            f"{self.num_trials['total']} trials; frames: trials, epochs, counts, and by tables() "
            f"{', '.join(self.tables())}"
        )

    @property
    def claim_paragraphs(self) -> list[Paragraph]:
        """What the recipe's claims came to, one paragraph each."""
        return [] if self.claims is None else tell_claims(self.claims)

    @property
    def num_trials(self) -> dict[str, int]:
        """Trials by status, and `total`."""
        return {name: int(self.counts[name].sum()) for name in (*STATUSES, "total")}

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables that are written, by file name without its end."""
        tables = {"cells": self.cells}
        for name, table in (("effects", self.effects), ("effects_pooled", self.effects_pooled)):
            tables |= {name: table.filter(~IS_LEG), f"{name}_legs": table.filter(IS_LEG)}
        for part in (self.secondary, self.probed, self.memorization):
            if part is not None:
                tables |= part.tables()
        further = {
            "benign": self.benign,
            "claims": self.claims,
            "claim_values": self.claim_values,
        }
        return tables | {name: table for name, table in further.items() if table is not None}

    def to_json(self) -> dict[str, Any]:
        """Return verdict, separation, pooled rows, notes, counts; every number finite or None."""
        return {
            "verdict": self.verdict,
            "separation": self.separation.to_json(),
            "outcome": self.outcome,
            "pooled": [_finite(row) for row in self.effects_pooled.filter(~IS_LEG).to_dicts()],
            "pooled_legs": [_finite(row) for row in self.effects_pooled.filter(IS_LEG).to_dicts()],
            "secondary": self._secondary_to_json(),
            "claims": [] if self.claims is None else [_finite(r) for r in self.claims.to_dicts()],
            "benign": [_finite(r) for r in self.benign.to_dicts()]
            if self.benign is not None
            else None,
            "score_comparison": self._comparison_to_json(),
            "notes": list(self.notes),
            "num_trials": self.num_trials,
        }

    def _comparison_to_json(self) -> list[dict[str, Any]] | None:
        if self.memorization is None:
            return None
        return [_finite(row) for row in self.memorization.comparison.to_dicts()]

    def _secondary_to_json(self) -> dict[str, Any] | None:
        if self.secondary is None:
            return None
        small = ["tuned", "substitution", "dose_response"]
        small += ["effects_surface", "effects_surface_pooled", "surface_checks"]
        tables = self.secondary.tables()
        rows = {name: [_finite(row) for row in tables[name].to_dicts()] for name in small}
        return {"margin": self.secondary.margin, **rows}


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def build_analysis(
    trials: pl.DataFrame,
    epochs: pl.DataFrame,
    *,
    outcome: str = "test_accuracy",
    diverged: Diverged = "chance",
    origin: Origin | None = None,
    estimators: Sequence[str] = tuple(ESTIMATORS),
) -> Analysis:
    """Return the analysis of loaded tables; writes nothing.

    Args:
        trials: As `load_trials` returns them.
        epochs: As `load_epochs` returns them.
        outcome: The primary outcome.
        diverged: What a diverged trial scores in effects.
        origin: Where the trials come from, as `load_sweep` returns it. Default: nothing is known.
        estimators: Names out of `ESTIMATORS`, in their order; `arms` among them.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    outcomes = list(dict.fromkeys([outcome, *DEFAULT_OUTCOMES]))
    check_outcomes(trials, outcomes, diverged=diverged)
    origin = origin or Origin()
    with ThreadPoolExecutor(1) as beside:  # NumPy and Polars compute outside the interpreter's lock
        cells = beside.submit(summarize_cells, trials, outcome=outcome, diverged=diverged)
        estimates = estimate(
            trials, outcomes, primary=outcome, diverged=diverged, estimators=estimators
        )
        pooled = estimates.pooled
        separation = judge_separation(trials, pooled, outcome=outcome, origin=origin)
        paragraphs = beside.submit(
            write_verdict, trials, pooled, separation, outcome=outcome, origin=origin
        )
        notes = write_notes(trials, estimates, outcomes, diverged=diverged, origin=origin)
    return Analysis(
        trials=trials,
        epochs=epochs,
        cells=cells.result(),
        effects=estimates.cells,
        effects_pooled=pooled,
        counts=count_trials(trials),
        notes=notes,
        separation=separation,
        paragraphs=paragraphs.result(),
        outcome=outcome,
        diverged=diverged,
    )
