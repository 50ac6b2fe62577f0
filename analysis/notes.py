"""Notes: what a reader must know about the data behind the estimates, each from a count."""

from collections.abc import Iterator, Sequence

import polars as pl

from analysis.effects import Estimates
from analysis.estimators import ESTIMATORS
from analysis.notes_estimators import estimator_notes
from analysis.notes_pooling import pooling_notes, split_notes
from analysis.optimizers import normalizing_optimizers
from analysis.origin import Origin, unfinished
from analysis.pairing import (
    CONTROL,
    REGULARIZED_ARMS,
    REPLAYED_ARMS,
    RESCALED_ARMS,
    Diverged,
    score,
)
from analysis.places import name_places, without_control
from rlp_sweeps.schema import SIMULATED_HOST

_READ_ARMS = sorted(
    {arm for estimator in ESTIMATORS.values() for arms in estimator.arms.values() for arm in arms}
)
_AT_CHANCE = "at chance (accuracy 1/K, loss log K)"


def write_notes(
    trials: pl.DataFrame,
    estimates: Estimates,
    outcomes: Sequence[str],
    *,
    diverged: Diverged,
    origin: Origin,
) -> tuple[str, ...]:
    """Return the notes, most important first; empty where nothing needs to be said.

    Args:
        trials: As `load_trials` returns them.
        estimates: Effects of cells, and pooled.
        outcomes: Outcomes that effects are on, the primary one first.
        diverged: What a diverged trial scores.
        origin: Where the trials come from.
    """
    of_cells, pooled = estimates.cells, estimates.pooled
    return (
        *_simulation_notes(trials),
        *_origin_notes(trials, origin),
        *_end_notes(trials, outcomes, diverged=diverged),
        *_design_notes(trials),
        *pooling_notes(trials, pooled, outcomes[0], diverged=diverged),
        *split_notes(of_cells, pooled, outcomes[0]),
        *estimator_notes(estimates),
        *_curve_notes(trials, estimates, diverged=diverged),
        *_optimizer_notes(trials),
        *_provenance_notes(trials),
    )


def _simulation_notes(trials: pl.DataFrame) -> Iterator[str]:
    if "hostname" in trials.columns:
        num = trials.filter(pl.col("hostname").str.starts_with(SIMULATED_HOST)).height
        if num:
            yield (
                f"{_count(num, 'trial')} of a simulation, recorded elsewhere or made up by a "
                "formula: nothing here was found by training."
            )


def _origin_notes(trials: pl.DataFrame, origin: Origin) -> Iterator[str]:
    if text := unfinished(origin, trials["trial_id"]):
        yield f"{text}."
    if origin.num_twofold:
        yield (
            f"{_count(origin.num_twofold, 'trial')} with other outcomes in a later directory: the "
            "row of the first directory is kept."
        )


def _end_notes(
    trials: pl.DataFrame, outcomes: Sequence[str], *, diverged: Diverged
) -> Iterator[str]:
    counts = dict(trials.select("status").group_by("status").len().iter_rows())
    if num := counts.get("diverged"):
        yield (
            f"{_count(num, 'trial')} diverged; in the effects {_diverged_text(trials, diverged)}. "
            f"In random-label outcomes {_they(num, 'count')} as missing, whatever is asked: a "
            "network that blew up has no memorization to read."
        )
    for status in ("failed", "stopped"):
        if num := counts.get(status):
            yield f"{_count(num, 'trial')} {status}: missing in the effects."
    is_completed = pl.col("status") == "completed"
    for outcome in outcomes:
        is_missing = score(outcome, diverged=diverged).is_null()
        num = trials.select((is_completed & is_missing).sum()).item()
        if num:
            yield f"{_count(num, 'completed trial')} without a finite {outcome}: missing there."


def _diverged_text(trials: pl.DataFrame, diverged: Diverged) -> str:
    """Return what diverged trials score; chance in class outcomes is known from `num_classes`."""
    num_classes = trials.filter(pl.col("status") == "diverged")["num_classes"]
    if diverged == "last":
        return f"{_they(len(num_classes), 'score')} what the last finite evaluation read"
    if diverged == "exclude":
        return f"{_they(len(num_classes), 'count')} as missing"
    num_unknown = num_classes.null_count()
    num_known = len(num_classes) - num_unknown
    if not num_unknown:
        return f"{_they(num_known, 'score')} {_AT_CHANCE}"
    why = (
        "as missing in class accuracies and losses, because without `num_classes` chance is "
        "unknown; add that column"
    )
    if not num_known:
        return f"{_they(num_unknown, 'count')} {why}"
    known = f"{num_known:,} score{'s' * (num_known == 1)} {_AT_CHANCE}"
    return f"{known} and {num_unknown:,} count{'s' * (num_unknown == 1)} {why}"


def _they(num: int, verb: str) -> str:
    return f"it {verb}s" if num == 1 else f"they {verb}"


def _design_notes(trials: pl.DataFrame) -> Iterator[str]:
    is_regularized = pl.col("arm").is_in(REGULARIZED_ARMS)
    is_rescaled = pl.col("arm").is_in((*RESCALED_ARMS, *REPLAYED_ARMS))
    rescaled = trials.filter(is_rescaled & (pl.col("rlp_lambda") == 0))
    if len(rescaled):
        yield (
            f"{_count(len(rescaled), 'matched trial')} at λ = 0: part of no effect, because a "
            "matched trial stands in the cell of the trials that it is matched to; write their λ."
        )
    at_zero = trials.filter(is_regularized & ~is_rescaled & (pl.col("rlp_lambda") == 0))
    if len(at_zero):
        yield (
            f"{_count(len(at_zero), 'trial')} of regularized arms at λ = 0: part of no effect, "
            "because without a strength there is no regularizer."
        )
    unknown = trials.filter(~pl.col("arm").is_in(_READ_ARMS))
    if len(unknown):
        arms = unknown["arm"].unique().sort().to_list()
        yield f"Arms {arms} are in the cells table; no estimator here reads them."
    lacking = without_control(trials)
    if len(lacking) and (trials["arm"] == CONTROL).any():
        num = _count(len(lacking), "cell and seed", "cells and seeds")
        verb = "has" if len(lacking) == 1 else "have"
        yield (
            f"{num} {verb} no control trial that was trained to its end, and no effect against "
            f"it: {name_places(lacking)}. Train them with arm='control', rlp_lambda=0."
        )


def _curve_notes(
    trials: pl.DataFrame, estimates: Estimates, *, diverged: Diverged
) -> Iterator[str]:
    reading = sorted({"curve", "alignment"} & set(estimates.pooled["estimator"].unique()))
    is_lost = (pl.col("arm") == CONTROL) & (pl.col("status") == "diverged")
    num = trials.select(is_lost.sum()).item()
    if reading and num and diverged != "exclude":
        yield (
            f"Estimators {', '.join(reading)} read the control over lr: {_count(num, 'trial')} of "
            "it diverged and may bend the curve at other lr, too, beyond what `num_diverged` of a "
            "cell counts."
        )


def _optimizer_notes(trials: pl.DataFrame) -> Iterator[str]:
    if names := normalizing_optimizers(trials):
        yield (
            f"Optimizer {', '.join(names)}: κ is measured on gradients, but a step is divided by "
            "the gradients' own size, so that a constant scale of the whole loss leaves it as it "
            "is. There κ tells how much of the regularizer's gradient lies along the class "
            "gradient, not how much the steps grew, and `equivalent_lr` = κη is no learning rate. "
            "Rescaled and replayed controls are at equal gradient scale, which alone moves next to "
            "nothing, so that matched leaves nearly the whole total to effect_memorization. Do not "
            "read curve, which takes the control at a rate that no step had."
        )


def _provenance_notes(trials: pl.DataFrame) -> Iterator[str]:
    if "point" in trials.columns and (num := trials["point"].drop_nulls().n_unique()):
        yield (
            f"{_count(num, 'point')} of a search: effects pooled over them are about the points "
            "that its sampler picked, by what it was told of one arm, not about the whole space."
        )
    if "code_version" in trials.columns:
        versions = trials["code_version"].drop_nulls().unique().sort().to_list()
        if len(versions) > 1:
            yield (
                f"Trials of {len(versions)} versions of the code: {', '.join(versions)}. Where "
                "arms of a cell differ in it, so may their training."
            )


def _count(num: int, singular: str, plural: str | None = None) -> str:
    return f"{num:,} {singular if num == 1 else plural or singular + 's'}"
