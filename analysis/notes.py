"""Notes: what a reader must know about the data behind the estimates, each from a count."""

from collections.abc import Iterator, Sequence

import polars as pl

from analysis.notes_pooling import pooling_notes, split_notes
from analysis.origin import Origin, unfinished
from analysis.pairing import CONTROL, REGULARIZED_ARMS, Diverged, cell_columns, score

_DIVERGED_TEXT = {
    "chance": "score at chance (accuracy 1/K, loss log K)",
    "last": "score what their last finite evaluation read",
    "exclude": "are left out of the effects",
}


def write_notes(
    trials: pl.DataFrame,
    effects: tuple[pl.DataFrame, pl.DataFrame],
    outcomes: Sequence[str],
    *,
    diverged: Diverged,
    origin: Origin,
) -> tuple[str, ...]:
    """Return the notes, most important first; empty where nothing needs to be said.

    Args:
        trials: As `load_trials` returns them.
        effects: Effects of cells, and pooled.
        outcomes: Outcomes that effects are on, the primary one first.
        diverged: What a diverged trial scores.
        origin: Where the trials come from.
    """
    of_cells, pooled = effects
    return (
        *_origin_notes(trials, origin),
        *_end_notes(trials, outcomes, diverged=diverged),
        *_design_notes(trials),
        *pooling_notes(trials, pooled, outcomes[0], diverged=diverged),
        *split_notes(of_cells, pooled, outcomes[0]),
        *_optimizer_notes(trials),
    )


def _origin_notes(trials: pl.DataFrame, origin: Origin) -> Iterator[str]:
    if text := unfinished(origin, trials["trial_id"].to_list()):
        yield f"{text}."
    if origin.num_twofold:
        yield (
            f"{_count(origin.num_twofold, 'trial')} with other outcomes in a later directory: the "
            "row of the first directory is kept."
        )


def _end_notes(
    trials: pl.DataFrame, outcomes: Sequence[str], *, diverged: Diverged
) -> Iterator[str]:
    counts = dict(trials.group_by("status").len().iter_rows())
    if num := counts.get("diverged"):
        yield (
            f"{_count(num, 'trial')} diverged; in the effects they {_DIVERGED_TEXT[diverged]}. In "
            "random-label outcomes they count as missing, whatever is asked: a network that blew "
            "up has no memorization to read."
        )
    for status in ("failed", "stopped"):
        if num := counts.get(status):
            yield f"{_count(num, 'trial')} {status}: missing in the effects."
    ended = trials.filter(pl.col("status").is_in(["completed", "diverged"]))
    no_k = ended.filter((pl.col("status") == "diverged") & pl.col("num_classes").is_null())
    if diverged == "chance" and len(no_k):
        yield (
            f"{_count(len(no_k), 'diverged trial')} without `num_classes`: chance is unknown, so "
            "they count as missing in class accuracies and losses. Add the column `num_classes`."
        )
    completed = trials.filter(pl.col("status") == "completed")
    for outcome in outcomes:
        num = completed.select(score(outcome, diverged=diverged).null_count()).item()
        if num:
            yield f"{_count(num, 'completed trial')} without a finite {outcome}: missing there."


def _design_notes(trials: pl.DataFrame) -> Iterator[str]:
    regularized = trials.filter(pl.col("arm").is_in(REGULARIZED_ARMS))
    at_zero = regularized.filter(pl.col("rlp_lambda") == 0)
    if len(at_zero):
        yield (
            f"{_count(len(at_zero), 'trial')} of regularized arms at λ = 0: part of no effect, "
            "because without a strength there is no regularizer."
        )
    unknown = trials.filter(~pl.col("arm").is_in([CONTROL, *REGULARIZED_ARMS]))
    if len(unknown):
        arms = unknown["arm"].unique().sort().to_list()
        yield f"Arms {arms} are in the cells table; no estimator here reads them."
    base = [name for name in cell_columns(trials) if name != "rlp_lambda"]
    controls = trials.filter(pl.col("arm") == CONTROL).select(*base, "seed").unique()
    lacking = regularized.join(controls, on=[*base, "seed"], how="anti", nulls_equal=True)
    if len(lacking) and len(controls):
        num = _count(lacking.select(*base, "seed").n_unique(), "cell and seed", "cells and seeds")
        yield f"{num} without a control trial: no effect there. Run them with rlp_lambda=0."


def _optimizer_notes(trials: pl.DataFrame) -> Iterator[str]:
    if "optimizer" not in trials.columns:
        return
    names = trials["optimizer"].drop_nulls().unique().sort().to_list()
    adam = [name for name in names if str(name).lower().startswith("adam")]
    if adam:
        yield (
            f"Optimizer {', '.join(adam)}: a constant scale of the whole loss leaves its steps as "
            "they are, so κ tells how much of the regularizer's gradient lies along the class "
            "gradient, not how much the steps grew."
        )


def _count(num: int, singular: str, plural: str | None = None) -> str:
    return f"{num:,} {singular if num == 1 else plural or singular + 's'}"
