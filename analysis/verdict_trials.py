"""The verdict's paragraphs on the trials themselves: the measured κ, and how they ended."""

from collections.abc import Iterator

import polars as pl

from analysis.cells import ARM_ORDER
from analysis.optimizers import normalizing_optimizers
from analysis.origin import Origin, unfinished
from analysis.pairing import REGULARIZED_ARMS
from analysis.wording import Paragraph, format_scope

MAX_LAMBDAS = 6
"""Values of λ up to which the verdict speaks of each; beyond, of all of them together."""


def tell_multipliers(trials: pl.DataFrame) -> Iterator[Paragraph]:
    """Say what κ was measured, where it was; where λ are many, over all of them."""
    multiplier = pl.col("lr_multiplier")
    read = trials.select("status", "arm", "rlp_lambda", "lr_multiplier")
    completed = read.filter(
        (pl.col("status") == "completed") & pl.col("arm").is_in(REGULARIZED_ARMS)
    ).with_columns(pl.when(multiplier.is_finite()).then(multiplier))
    if completed["rlp_lambda"].n_unique() > MAX_LAMBDAS:
        completed = completed.with_columns(rlp_lambda=pl.lit(None, pl.Float64))
    medians = completed.group_by("rlp_lambda", "arm").agg(
        multiplier.median(), multiplier.null_count().alias("num_missing"), pl.len()
    )
    order = pl.col("arm").replace_strict(ARM_ORDER, return_dtype=pl.Int64)
    scopes: dict[float | None, list[str]] = {}
    for rlp_lambda, arm, *found in medians.sort("rlp_lambda", order).iter_rows():
        scopes.setdefault(rlp_lambda, []).append(f"{arm} {_median(*found)}")
    if completed["lr_multiplier"].count():
        texts = (
            f"{format_scope(scope).lower()} {', '.join(arms)}" for scope, arms in scopes.items()
        )
        names = ", ".join(normalizing_optimizers(trials))
        caveat = f"; under {names} a direction of gradients, not how much a step grew" * bool(names)
        yield Paragraph(
            "Measured multiplier κ",
            f"{'; '.join(texts)} (medians over cells and seeds; 1: no net pull along "
            f"the class gradient{caveat}).",
        )


def _median(value: float | None, num_missing: int, num_trials: int) -> str:
    text = "–" if value is None else f"{value:.3g}".replace("-", "−")
    return f"{text} ({num_missing:,} of {num_trials:,} missing)" if num_missing else text


def tell_ends(trials: pl.DataFrame, origin: Origin) -> Paragraph:
    """Say how the trials ended, and whether the sweep is whole."""
    lacking = unfinished(origin, trials["trial_id"])
    text = _how_they_ended(trials, is_whole=origin.is_planned and lacking is None)
    return Paragraph("Trials", f"{lacking}. {text[0].upper()}{text[1:]}" if lacking else text)


def _how_they_ended(trials: pl.DataFrame, *, is_whole: bool) -> str:
    parts = []
    for status in ("diverged", "failed", "stopped"):
        arms = trials.filter(pl.col("status") == status)["arm"].value_counts()
        if len(arms):
            names = ", ".join(f"{arm} {num}" for arm, num in sorted(arms.iter_rows()))
            parts.append(f"{arms['count'].sum()} {status} ({names})")
    which = "planned" if is_whole else "that are here"
    if not parts:
        return f"all {len(trials):,} {which} were trained to their end; none diverged."
    return f"of {len(trials):,} {which}, {'; '.join(parts)}."
