"""Claims: what a study expects, stated before it is run, and how an interval decides it.

A claim names one number a replicate, by a query over the sweep's tables; ``analysis`` forms the
interval over the seeds and says whether it agrees.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from rlp_sweeps.errors import SearchSpaceError

Expectation = Literal["above", "below", "within"]
Unit = Literal["points", ""]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One statement of a paper, and what would agree with it.

    Attributes:
        text: The statement, one sentence.
        source: Where it stands: paper, section or figure.
        quantity: What the query measures, in words.
        measure: SELECT (or WITH) over the sweep's tables that returns one row a seed, ``seed`` and
            ``value``; or one row with ``estimate``, ``ci_low``, ``ci_high`` and ``n``, where the
            replicates are no seeds.
        expects: ``above`` or ``below`` the bound; ``within``: between −bound and bound.
        bound: In the unit of the value.
        unit: ``points``: the value is a share, printed times 100; empty: a plain number.

    Raises:
        SearchSpaceError: A text is missing, or the expectation is unknown.
    """

    text: str
    source: str
    quantity: str
    measure: str
    expects: Expectation
    bound: float = 0.0
    unit: Unit = "points"

    def __post_init__(self) -> None:
        rules = {
            "text, source, quantity and measure must not be empty": all(
                text.strip() for text in (self.text, self.source, self.quantity, self.measure)
            ),
            f"expects in {get_args(Expectation)}": self.expects in get_args(Expectation),
            f"unit in {get_args(Unit)}": self.unit in get_args(Unit),
            "0 < bound where a claim expects `within`": self.expects != "within" or self.bound > 0,
        }
        for rule, holds in rules.items():
            if not holds:
                msg = f"`{rule}` must hold in a claim, but got {self!r}."
                raise SearchSpaceError(msg)
