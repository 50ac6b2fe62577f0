"""Estimators: functions from paired outcomes to effects, one value a cell and seed.

An estimator knows which arms each of its effects reads and computes them as columns. A further
estimator is one more entry of `ESTIMATORS`; nothing else changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

CONTROL_AND_FULL = ("control", "full")
ALL_FOUR = ("control", "full", "class_term", "uniform_term")
SHAM_ARMS = ("control", "full", "sham")
IS_LEG = pl.col("effect").str.contains("_(first|last)$")
"""Whether a row of effects is a Shapley leg; legs are kept in a table beside the effects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimator:
    """One way to separate the effects.

    Attributes:
        name: As written in the column `estimator`.
        arms: For each effect the arms that it reads.
        per_seed: Function from one row a cell and seed with columns `y_<arm>` to the same rows with
            one column an effect, null where an arm is missing.
    """

    name: str
    arms: Mapping[str, tuple[str, ...]]
    per_seed: Callable[[pl.DataFrame], pl.DataFrame]

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the effects, in the order they are reported."""
        return tuple(self.arms)


def arms_per_seed(paired: pl.DataFrame) -> pl.DataFrame:
    r"""Return the exact attribution by term, with both Shapley legs.

    Reads `y_control`, `y_full`, `y_class_term`, `y_uniform_term`; adds `effect_total`,
    `effect_lr`, `effect_memorization`, `interaction` and the legs (``_first``: the term added to
    the control; ``_last``: the term added to the other one).

    .. math:: effect_{lr} + effect_{memorization} = effect_{total}

    holds in every row where the four arms are there.
    """
    control, full = pl.col("y_control"), pl.col("y_full")
    class_term, uniform_term = pl.col("y_class_term"), pl.col("y_uniform_term")
    lr_first, lr_last = class_term - control, full - uniform_term
    memorization_first, memorization_last = uniform_term - control, full - class_term
    return paired.with_columns(
        effect_total=full - control,
        effect_lr=(lr_first + lr_last) / 2,
        effect_memorization=(memorization_first + memorization_last) / 2,
        interaction=full - class_term - uniform_term + control,
        effect_lr_first=lr_first,
        effect_lr_last=lr_last,
        effect_memorization_first=memorization_first,
        effect_memorization_last=memorization_last,
    )


def sham_per_seed(paired: pl.DataFrame) -> pl.DataFrame:
    """Return the attribution by the sham arm, where there is nothing to unlearn.

    Reads `y_control`, `y_full`, `y_sham`; adds `effect_total`, `effect_lr` (sham − control) and
    `effect_memorization` (full − sham: what having something to unlearn added). `effect_total` is
    null where sham is missing, so that the parts sum to it in every row.
    """
    control, full, sham = pl.col("y_control"), pl.col("y_full"), pl.col("y_sham")
    return paired.with_columns(
        effect_total=pl.when(sham.is_not_null()).then(full - control),
        effect_lr=sham - control,
        effect_memorization=full - sham,
    )


ESTIMATORS: dict[str, Estimator] = {
    "arms": Estimator(
        name="arms",
        arms={
            "effect_total": CONTROL_AND_FULL,
            "effect_lr": ALL_FOUR,
            "effect_memorization": ALL_FOUR,
            "interaction": ALL_FOUR,
            "effect_lr_first": ("control", "class_term"),
            "effect_lr_last": ("full", "uniform_term"),
            "effect_memorization_first": ("control", "uniform_term"),
            "effect_memorization_last": ("full", "class_term"),
        },
        per_seed=arms_per_seed,
    ),
    "sham": Estimator(
        name="sham",
        arms={
            "effect_total": SHAM_ARMS,
            "effect_lr": ("control", "sham"),
            "effect_memorization": ("full", "sham"),
        },
        per_seed=sham_per_seed,
    ),
}
"""Every estimator by name."""
