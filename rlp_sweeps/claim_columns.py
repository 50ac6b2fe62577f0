"""Columns of the tables that claims are checked in, a part of ``schema.py``."""

from rlp_sweeps.column import Column

# fmt: off
CLAIMS = (
    Column("text", "str", "", "identity", "The statement, one sentence."),
    Column("source", "str", "", "identity", "Where it stands: paper, section or figure."),
    Column("quantity", "str", "", "identity", "What is measured, in words."),
    Column("expects", "str", "", "config", "above, below: the bound; within: −bound … bound."),
    Column("bound", "f64", "of the value", "config", "What the interval is compared with."),
    Column("unit", "str", "", "config", "points: values are shares, printed times 100."),
    Column("estimate", "f64", "of the value", "outcome", "Mean over seeds; null: not measured."),
    Column("ci_low", "f64", "of the value", "outcome",
           "95 % t interval over seeds, not adjusted for the number of claims; null for one seed "
           "and without spread."),
    Column("ci_high", "f64", "of the value", "outcome", "Its upper end."),
    Column("num_replicates", "i64", "count", "outcome", "Seeds that have a value, or what n counts "
           "where the claim's query returns an interval of its own."),
    Column("result", "str", "", "outcome",
           "agrees, disagrees: the whole interval lies on that side; not resolved; not measured."),
    Column("reason", "str", "", "diagnostic", "Why it was not measured, or what to know of it."),
)

CLAIM_VALUES = (
    Column("text", "str", "", "identity", "Key into claims."),
    Column("seed", "i64", "count", "identity", "The replicate."),
    Column("value", "f64", "of the value", "outcome", "What the claim's query gave for it."),
)
# fmt: on
