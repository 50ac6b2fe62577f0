"""How numbers read in prose: shares in percentage points, losses in nats, p values, λ and lr."""

from dataclasses import dataclass
from typing import NamedTuple

MINUS = "−"

_NOUNS = {
    "test_accuracy": "test accuracy",
    "val_accuracy": "validation accuracy",
    "train_accuracy": "training accuracy",
    "random_label_accuracy": "random-label accuracy",
    "adversary_random_label_accuracy": "the adversary's random-label accuracy",
    "memorization": "memorization",
    "generalization_gap": "generalization gap",
    "test_loss": "test loss",
    "val_loss": "validation loss",
    "train_loss": "training loss",
    "lr_multiplier": "learning-rate multiplier",
    "equivalent_lr": "equivalent learning rate",
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """How effects on one outcome are written.

    Attributes:
        noun: The outcome in words.
        unit: Unit in words; empty for plain numbers.
        factor: From the column's unit to the written one.
        decimals: Digits behind the point.
    """

    noun: str
    unit: str
    factor: float
    decimals: int

    def number(self, value: float) -> str:
        """Return a signed number with a true minus sign; what rounds to zero has no sign."""
        text = f"{value * self.factor:+.{self.decimals}f}"
        if float(text) == 0:
            return text[1:]
        return text.replace("-", MINUS)

    def with_interval(self, estimate: object, low: object, high: object) -> str:
        """Return "estimate unit [low, high]"; without the interval where there is none."""
        unit = f" {self.unit}" if self.unit else ""
        if not isinstance(estimate, float):
            return "–"
        if not (isinstance(low, float) and isinstance(high, float)):
            return f"{self.number(estimate)}{unit}"
        return f"{self.number(estimate)}{unit} [{self.number(low)}, {self.number(high)}]"


def quantity_of(outcome: str) -> Quantity:
    """Return how effects on this outcome are written."""
    noun = _NOUNS.get(outcome, outcome.replace("_", " "))
    if outcome.endswith("_accuracy") or outcome in {"memorization", "generalization_gap"}:
        return Quantity(noun, "points", 100.0, 2)
    if outcome.endswith("_loss"):
        return Quantity(noun, "nats", 1.0, 4)
    return Quantity(noun, "", 1.0, 4)


def no_interval(num_seeds: int) -> str:
    """Return why an estimate over so many seeds has no interval."""
    return "one seed" if num_seeds == 1 else "no spread over seeds"


def format_p(value: float) -> str:
    """Return "p = …" with two significant digits, or "p < 0.001"."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def format_value(value: object) -> str:
    """Return a cell column's value, floats in their shortest exact form."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def format_short(value: object) -> str:
    """Return a cell column's value for a figure's label, floats in three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def format_scope(scope: float | None) -> str:
    """Return which cells a pooled estimate is about, as a sentence begins; six digits of λ."""
    return "Over all λ" if scope is None else f"At λ = {scope:.6g}"


class Paragraph(NamedTuple):
    """One statement of the verdict.

    Attributes:
        lead: What it is about, a few words.
        text: The statement, one or more sentences.
    """

    lead: str
    text: str

    def __str__(self) -> str:
        return f"{self.lead}: {self.text}"
