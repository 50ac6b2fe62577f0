"""The answer to label smoothing's substitution: what becomes of λ's effect once ε is tuned."""

import polars as pl

from analysis.substitution import AT_OWN, GAIN
from analysis.typed import Row, to_frame
from analysis.wording import format_scope, format_value, quantity_of
from rlp_sweeps.column import Column

# fmt: off
ANSWERS = (
    Column("outcome", "str", "", "identity",
           "Column of trials that the answer is about."),
    Column("rlp_lambda", "f64", "> 0", "identity",
           "λ of the cells pooled over; null: all of them.", nullable=True),
    Column("answer", "str", "", "outcome",
           "not_seen, remains, reverses, not_resolved, vanishes or unknown, see `answer_of`."),
    Column("statement", "str", "", "outcome",
           "The answer in a sentence with its numbers."),
)
"""One row a λ, and one for all."""
# fmt: on


def answer_substitution(table: pl.DataFrame, *, margin: float | None = None) -> pl.DataFrame:
    """Return for each λ, and for all, whether its effect vanishes at the tuned ε.

    Args:
        table: As `estimate_substitution` returns it.
        margin: The margin it was made with, for the sentence.

    Returns:
        `ANSWERS`, one row a λ of the table and one for all.
    """
    rows = []
    for part in table.partition_by("outcome", "rlp_lambda", maintain_order=True):
        gains = part.filter(pl.col("effect") == GAIN).to_dicts()
        tuned = part.filter(pl.col("effect") == AT_OWN).to_dicts()
        at_own = tuned[0] if tuned else None
        answer = answer_of(gains[0], at_own)
        statement = _state(gains[0], at_own, _MEANINGS[answer], margin)
        identity = {name: gains[0][name] for name in ("outcome", "rlp_lambda")}
        rows.append(identity | {"answer": answer, "statement": statement})
    return to_frame(rows, ANSWERS)


_MEANINGS = {
    "unknown": "whether it remains at the tuned ε takes two seeds",
    "vanishes": "at the tuned ε there is no effect up to the margin",
    "not_seen": "no effect is seen that label smoothing could replace",
    "not_resolved": "at the tuned ε it is not told from 0, which is not to say that it is 0",
    "remains": "it remains at the tuned ε",
    "reverses": "it turns round at the tuned ε",
}


def answer_of(smallest: Row, tuned: Row | None) -> str:
    """Return what becomes of the effect of λ when both sides tune their ε.

    ``unknown`` without tuned rows; ``not_seen`` where the interval at the smallest ε covers 0 or
    does not exist; ``vanishes`` where equivalence within a margin was shown at the tuned ε; else by
    the interval there: ``not_resolved`` (covers 0 or does not exist), ``remains`` or ``reverses``
    (on the other side of 0). An interval that covers 0 alone never counts as vanishing.

    Args:
        smallest: The row ``gain`` at the smallest ε.
        tuned: The row ``gain_at_own_eps``; None where there is none.
    """
    if tuned is None:
        return "unknown"
    before, after = _sign(smallest), _sign(tuned)
    if before == 0:
        return "not_seen"
    if tuned["is_equivalent"]:
        return "vanishes"
    if after == 0:
        return "not_resolved"
    return "remains" if before == after else "reverses"


def _sign(row: Row) -> int:
    """Return the side of 0 the interval lies on; 0 where it covers 0 or does not exist."""
    low, high = row["ci_low"], row["ci_high"]
    if low is None or low <= 0 <= high:
        return 0
    return 1 if low > 0 else -1


def _state(smallest: Row, tuned: Row | None, meaning: str, margin: float | None) -> str:
    quantity = quantity_of(smallest["outcome"])

    def effect(row: Row) -> str:
        return quantity.with_interval(row["estimate"], row["ci_low"], row["ci_high"])

    text = (
        f"{format_scope(smallest['rlp_lambda'])} the effect on {quantity.noun} is "
        f"{effect(smallest)} at ε = {format_value(smallest['label_smoothing'])}"
    )
    if tuned is not None:
        text += (
            f" and {effect(tuned)} with ε tuned (mostly {format_value(tuned['chosen_full'])} with "
            f"the regularizer, {format_value(tuned['chosen_control'])} without), "
            f"n = {tuned['num_seeds']}"
        )
        if tuned["is_at_edge"]:
            text += ", the largest ε tried being chosen"
    if margin is not None:
        text += f"; margin ±{quantity.number(margin).lstrip('+')} {quantity.unit}".rstrip()
    return f"{text}: {meaning}."
