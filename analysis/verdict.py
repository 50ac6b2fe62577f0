"""The verdict: what the numbers say, in words, and no more than they say.

An effect of the confirmatory family counts as resolved where its p after Holm is below 0.05; any
other where its interval excludes 0. The class term's contribution is called by its term: that it
acts as a learning rate is a further claim, which needs trials at the matched learning rate.
"""

from collections.abc import Iterator

import polars as pl

from analysis.effects import is_family
from analysis.origin import Origin
from analysis.separation import Separation
from analysis.verdict_trials import MAX_LAMBDAS, tell_ends, tell_multipliers
from analysis.wording import Paragraph, Quantity, format_p, format_scope, quantity_of

_LEVEL = 0.05
Row = dict[str, object]


_CAUTION = Paragraph(
    "What this does not say",
    "the class term is one part of the regularizer's exact split, not a mechanism. Whether it acts "
    "as the implicit effect on the learning rate that the method's authors suspect is not tested "
    "here: that takes trials at the matched learning rate, which `rlp-sweeps follow-up DIR` adds.",
)


def write_verdict(
    trials: pl.DataFrame,
    pooled: pl.DataFrame,
    separation: Separation,
    *,
    outcome: str,
    origin: Origin,
) -> tuple[Paragraph, ...]:
    """Return the verdict's paragraphs; the first answers what the regularizer did.

    Args:
        trials: As `load_trials` returns them.
        pooled: Pooled effects, see `schema.EFFECTS_POOLED`.
        separation: What of the separation the trials allow.
        outcome: The primary outcome.
        origin: Where the trials come from: whether the sweep is whole.
    """
    if separation.status == "none":
        nothing = Paragraph("Nothing to separate", f"{separation.missing} {separation.way_out}")
        return (nothing, tell_ends(trials, origin))
    rows = _rows_by_scope(pooled, outcome, "arms")
    paragraphs = [
        Paragraph(format_scope(scope), _attribution(rows.get(scope, {}), outcome))
        for scope in _spoken(rows)
    ]
    paragraphs += _memorization(pooled)
    paragraphs += _sham(pooled, outcome)
    paragraphs += tell_multipliers(trials)
    paragraphs.append(_certainty(pooled, outcome))
    paragraphs.append(tell_ends(trials, origin))
    if separation.status == "partial":
        lacking = f"{separation.missing} {separation.way_out}"
        paragraphs.append(Paragraph("What is missing", lacking))
    if any("effect_lr" in effects for effects in rows.values()) and not _is_matched(pooled):
        paragraphs.append(_CAUTION)
    return tuple(paragraphs)


def _is_matched(pooled: pl.DataFrame) -> bool:
    """Tell whether the class term was set against its matched learning rate."""
    return bool((pooled["effect"] == "class_term_beyond_lr").any())


def _certainty(pooled: pl.DataFrame, outcome: str) -> Paragraph:
    """Say what "resolved" means here, and what so few seeds can show."""
    num_tests = len(pooled.filter(is_family(outcome)))
    adjusted = (
        f"an effect on {quantity_of(outcome).noun} at one λ counts as resolved where p < {_LEVEL} "
        f"after Holm's adjustment over all {num_tests} of them, any other (interaction, "
        "memorization, sham, over all λ)"
    )
    subject = adjusted if num_tests else "an effect counts as resolved"
    rule = f"{subject} where its 95 % interval, which is not adjusted, excludes 0."
    tested = pooled.filter(pl.col("ci_low").is_not_null())
    num_seeds, smallest = tested.select(
        pl.col("num_seeds").max(), pl.col("p_sign_flip_min").min()
    ).row(0)
    if smallest is None or smallest < _LEVEL:
        return Paragraph("How sure", rule)
    few = (
        f" With {num_seeds} seeds the intervals and p values take the differences between seeds as "
        "normally distributed; a sign-flip test, which does not, cannot go below "
        f"p = {smallest:.2g}."
    )
    return Paragraph("How sure", rule + few)


def _rows_by_scope(
    pooled: pl.DataFrame, outcome: str, estimator: str
) -> dict[float | None, dict[str, Row]]:
    rows = pooled.filter((pl.col("outcome") == outcome) & (pl.col("estimator") == estimator))
    scopes: dict[float | None, dict[str, Row]] = {}
    for row in rows.iter_rows(named=True):
        scopes.setdefault(row["rlp_lambda"], {})[row["effect"]] = row
    return scopes


def _spoken(rows: dict[float | None, dict[str, Row]]) -> list[float | None]:
    """Return the scopes to speak of: every λ, or all of them together where they are many."""
    lambdas = [scope for scope in rows if scope is not None]
    return [*lambdas] if 0 < len(lambdas) <= MAX_LAMBDAS else [None]


def _attribution(effects: dict[str, Row], outcome: str) -> str:
    quantity = quantity_of(outcome)
    total, parts = effects.get("effect_total"), _parts(effects, quantity)
    if total is None:
        return f"the total effect on {quantity.noun} is unknown: no seed has control and full."
    change = f"{_estimate(total, quantity)} ({_basis(total)})"
    if is_resolved(total):
        text = f"the regularizer changed {quantity.noun} by {change}"
    else:
        text = f"an effect of the regularizer on {quantity.noun} is{_doubt(total)}: {change}"
    if not parts:
        return (
            f"{text}. It cannot be split: no seed has the arms class_term and uniform_term beside "
            "control and full."
        )
    link = (
        "Of that,"
        if _is_one_basis(effects)
        else f"On other seeds ({_basis(effects['effect_lr'])}),"
    )
    return f"{text}. {link} {parts}.{_interaction(effects['interaction'], quantity)}"


def _parts(effects: dict[str, Row], quantity: Quantity) -> str:
    if "effect_lr" not in effects or "effect_memorization" not in effects:
        return ""
    lr, memorization = effects["effect_lr"], effects["effect_memorization"]
    return (
        f"{_estimate(lr, quantity)} came with the class term{_aside(lr)} and "
        f"{_estimate(memorization, quantity)} with the uniform term{_aside(memorization)}"
    )


def _is_one_basis(effects: dict[str, Row]) -> bool:
    """Tell whether the total stands on the seeds and cells that its parts stand on."""
    total, part = effects["effect_total"], effects["effect_lr"]
    return all(total[name] == part[name] for name in ("num_seeds", "num_cells"))


def _interaction(row: Row, quantity: Quantity) -> str:
    if is_resolved(row):
        return (
            f" The two interact ({_estimate(row, quantity)}): what a term does depends on whether "
            "the other is there, and the parts are means over both orders."
        )
    return f" An interaction of the two is{_doubt(row)}: {_estimate(row, quantity)}."


def _memorization(pooled: pl.DataFrame) -> Iterator[Paragraph]:
    quantity = quantity_of("random_label_accuracy")
    scopes = _rows_by_scope(pooled, "random_label_accuracy", "arms")
    for scope in _spoken(scopes):
        effects = scopes.get(scope, {})
        if "effect_total" in effects:
            total, parts = effects["effect_total"], _parts(effects, quantity)
            link = ": "
            if parts and not _is_one_basis(effects):
                link = f"; on other seeds ({_basis(effects['effect_lr'])}), "
            yield Paragraph(
                f"Memorization {format_scope(scope).lower()}",
                f"random-label accuracy, read by the observer head, changed by "
                f"{with_basis(total, quantity)}{link * bool(parts)}{parts}.",
            )


def _sham(pooled: pl.DataFrame, outcome: str) -> Iterator[Paragraph]:
    quantity = quantity_of(outcome)
    scopes = _rows_by_scope(pooled, outcome, "sham")
    for scope in _spoken(scopes):
        effects, parts = scopes.get(scope, {}), []
        if lr := effects.get("effect_lr"):
            parts.append(
                f"with nothing to unlearn, the same regularizer changed {quantity.noun} by "
                f"{with_basis(lr, quantity)}"
            )
        if memorization := effects.get("effect_memorization"):
            parts.append(f"having something to unlearn added {with_basis(memorization, quantity)}")
        if parts:
            yield Paragraph(f"Sham {format_scope(scope).lower()}", f"{'; '.join(parts)}.")


def is_resolved(row: Row) -> bool:
    """Tell whether an effect's row stands out of its noise, after Holm where it is adjusted."""
    p_holm, low, high = row["p_holm"], row["ci_low"], row["ci_high"]
    if isinstance(p_holm, float):
        return p_holm < _LEVEL
    return isinstance(low, float) and isinstance(high, float) and (low > 0 or high < 0)


def _doubt(row: Row) -> str:
    """Return " not resolved" and why; empty where the effect is resolved."""
    if row["ci_low"] is None:
        if row["num_seeds"] == 1:
            return " not resolved, because one seed gives no interval"
        return " not resolved, with no spread over seeds, so no interval"
    if is_resolved(row):
        return ""
    if isinstance(row["p_holm"], float):
        return f" not resolved, {format_p(row['p_holm'])} after Holm"
    return " not resolved"


def _aside(row: Row) -> str:
    if row["ci_low"] is None and row["num_seeds"] == 1:
        return " (one seed, no interval)"
    return f" ({doubt.strip()})" if (doubt := _doubt(row)) else ""


def _basis(row: Row) -> str:
    num_seeds, num_cells = row["num_seeds"], row["num_cells"]
    text = f"n = {num_seeds} seed{'s' * (num_seeds != 1)}, {num_cells} cell{'s' * (num_cells != 1)}"
    if row["num_diverged"]:
        text += f", {row['num_diverged']} diverged"
    if isinstance(row["p_holm"], float) and is_resolved(row):
        text += f", {format_p(row['p_holm'])} after Holm"
    return text


def with_basis(row: Row, quantity: Quantity) -> str:
    """Return an effect with its interval, and in brackets what it stands on and any doubt."""
    doubt = f"; {text.strip()}" if (text := _doubt(row)) else ""
    return f"{_estimate(row, quantity)} ({_basis(row)}{doubt})"


def _estimate(row: Row, quantity: Quantity) -> str:
    return quantity.with_interval(row["estimate"], row["ci_low"], row["ci_high"])
