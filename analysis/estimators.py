"""Estimators: functions from paired outcomes to effects, one value a cell and seed.

An estimator knows which arms each of its effects reads and computes them as columns. A further
estimator is one more entry of `ESTIMATORS`; nothing else changes. One whose arms are absent is not
computed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from analysis.alignment import alignment_lacks, alignment_per_seed, tell_alignment
from analysis.curve import curve_lacks, curve_per_seed, tell_curve
from analysis.pairing import CONTROL, Paired

CONTROL_AND_FULL = ("control", "full")
ALL_FOUR = ("control", "full", "class_term", "uniform_term")
ALL_FOUR_MEANS = ("control", "full", "class_mean", "mean_rest")
SHAM_ARMS = ("control", "full", "sham")
ORTHOGONAL_ARMS = ("control", "full", "orthogonal")

EFFECTS_OF_CONTRACT = (
    "effect_total",
    "effect_lr",
    "effect_memorization",
    "interaction",
    "specificity",
)
IS_LEG = ~pl.col("effect").is_in(EFFECTS_OF_CONTRACT)
"""Whether a row of effects is a leg or another piece; they have a table beside the effects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimator:
    """One way to separate the effects.

    Attributes:
        name: As written in the column `estimator`.
        arms: For each effect the arms that it reads, the effects in the order they are reported.
        per_seed: Function to one row a cell and seed, those of `Paired.seeds`, with one column an
            effect, null where an arm is missing.
        further: Effects that stand on their own seeds. All others are the core: a seed is complete
            where it has all of them, and they stand on complete seeds wherever there are.
        lacks: Function to why no cell can have an estimate although the arms are there; else None.
        explain: Function from what `per_seed` returns to notes on single cells, as sentences.
    """

    name: str
    arms: Mapping[str, tuple[str, ...]]
    per_seed: Callable[[Paired], pl.DataFrame]
    further: tuple[str, ...] = ()
    lacks: Callable[[Paired], str | None] | None = None
    explain: Callable[[pl.DataFrame], Iterator[str]] | None = None

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the effects, in the order they are reported."""
        return tuple(self.arms)

    @property
    def core(self) -> tuple[str, ...]:
        """Names of the effects that decide which seeds are complete."""
        return tuple(effect for effect in self.arms if effect not in self.further)

    def why_absent(self, paired: Paired) -> str | None:
        """Return why this estimator has no value anywhere; None where it is to be computed."""
        if not any(paired.has(*arms) for arms in set(self.arms.values())):
            wanted = dict.fromkeys(arm for effect in self.core for arm in self.arms[effect])
            lost = [arm for arm in wanted if not paired.has(arm)]
            return f"no trial of arm {', '.join(lost)}"
        return self.lacks(paired) if self.lacks is not None else None


def arms_per_seed(paired: Paired) -> pl.DataFrame:
    r"""Return the exact attribution by term, with both Shapley legs.

    Reads `y_control`, `y_full`, `y_class_term`, `y_uniform_term`; adds `effect_total`,
    `effect_lr`, `effect_memorization`, `interaction` and the legs (``_first``: the term added to
    the control; ``_last``: the term added to the other one).

    .. math:: effect_{lr} + effect_{memorization} = effect_{total}

    holds in every row where the four arms are there.
    """
    return _attribute(paired.seeds, "class_term", "uniform_term")


def block_mean_per_seed(paired: Paired) -> pl.DataFrame:
    """Return what `arms_per_seed` does, by the second exact split: a check of robustness.

    Reads `y_class_mean` in place of `y_class_term` and `y_mean_rest` in place of `y_uniform_term`.
    `effect_total` is null where one of the two is missing.
    """
    has_both = pl.col("y_class_mean").is_not_null() & pl.col("y_mean_rest").is_not_null()
    attributed = _attribute(paired.seeds, "class_mean", "mean_rest")
    return attributed.with_columns(effect_total=pl.when(has_both).then(pl.col("effect_total")))


def _attribute(seeds: pl.DataFrame, lr_arm: str, memorization_arm: str) -> pl.DataFrame:
    control, full = pl.col("y_control"), pl.col("y_full")
    class_term, uniform_term = pl.col(f"y_{lr_arm}"), pl.col(f"y_{memorization_arm}")
    lr_first, lr_last = class_term - control, full - uniform_term
    memorization_first, memorization_last = uniform_term - control, full - class_term
    return seeds.with_columns(
        effect_total=full - control,
        effect_lr=(lr_first + lr_last) / 2,
        effect_memorization=(memorization_first + memorization_last) / 2,
        interaction=full - class_term - uniform_term + control,
        effect_lr_first=lr_first,
        effect_lr_last=lr_last,
        effect_memorization_first=memorization_first,
        effect_memorization_last=memorization_last,
    )


def matched_per_seed(paired: Paired) -> pl.DataFrame:
    """Return the attribution by mechanism, against `rescaled` controls; see `_by_mechanism`."""
    return _by_mechanism(paired.seeds, "rescaled")


def replayed_per_seed(paired: Paired) -> pl.DataFrame:
    """Return the same, against controls that replay κ interval by interval (`_by_mechanism`)."""
    return _by_mechanism(paired.seeds, "replayed")


def _by_mechanism(seeds: pl.DataFrame, matched: str) -> pl.DataFrame:
    r"""Return the attribution by mechanism: against a control at the matched learning rate.

    Reads `y_control`, `y_full`, `y_rescaled` (a control whose extractor gradient is scaled by the κ
    of `full`; `matched` names its arm); adds `effect_total` (null where rescaled is missing),
    `effect_lr` (rescaled − control) and `effect_memorization` (full − rescaled). Adds further

    .. math:: total = learning\_rate\_of\_class\_term + class\_term\_beyond\_lr
              + uniform\_term\_last

    from `y_class_term` and `y_rescaled_class_term`, all three null where an arm is missing, so that
    they sum in every row; and `uniform_term_beyond_lr` (uniform_term − its rescaled control).
    """
    control, full, rescaled = pl.col("y_control"), pl.col("y_full"), pl.col(f"y_{matched}")
    class_term, rescaled_class = pl.col("y_class_term"), pl.col(f"y_{matched}_class_term")
    has_all = pl.all_horizontal(each.is_not_null() for each in (control, full, rescaled_class))
    has_all &= class_term.is_not_null()
    return seeds.with_columns(
        effect_total=pl.when(rescaled.is_not_null()).then(full - control),
        effect_lr=rescaled - control,
        effect_memorization=full - rescaled,
        learning_rate_of_class_term=pl.when(has_all).then(rescaled_class - control),
        class_term_beyond_lr=pl.when(has_all).then(class_term - rescaled_class),
        uniform_term_last=pl.when(has_all).then(full - class_term),
        uniform_term_beyond_lr=pl.col("y_uniform_term") - pl.col(f"y_{matched}_uniform_term"),
    )


def projection_per_seed(paired: Paired) -> pl.DataFrame:
    """Return the attribution by projection, for regularizers without an exact split, too.

    Reads `y_control`, `y_full`, `y_orthogonal`; adds `effect_total` (null where orthogonal is
    missing), `effect_lr` (full − orthogonal: the part of ∇L_reg along the class gradient) and
    `effect_memorization` (orthogonal − control: the part that is no learning rate to first order).
    Reads further `y_grafted`; adds `direction` (grafted − control: where the regularizer points, at
    the control's step size) and `step_size` (full − grafted).
    """
    control, full = pl.col("y_control"), pl.col("y_full")
    orthogonal, grafted = pl.col("y_orthogonal"), pl.col("y_grafted")
    return paired.seeds.with_columns(
        effect_total=pl.when(orthogonal.is_not_null()).then(full - control),
        effect_lr=full - orthogonal,
        effect_memorization=orthogonal - control,
        direction=grafted - control,
        step_size=full - grafted,
    )


def sham_per_seed(paired: Paired) -> pl.DataFrame:
    """Return the attribution by the sham arm, where there is nothing to unlearn.

    Reads `y_control`, `y_full`, `y_sham`; adds `effect_total`, `effect_lr` (sham − control) and
    `effect_memorization` (full − sham: what having something to unlearn added). `effect_total` is
    null where sham is missing, so that the parts sum to it in every row. Reads further
    `y_sham_norm`; adds `specificity` (full − sham_norm: unlearning this sample's label rather than
    a push of that size).
    """
    control, full, sham = pl.col("y_control"), pl.col("y_full"), pl.col("y_sham")
    return paired.seeds.with_columns(
        effect_total=pl.when(sham.is_not_null()).then(full - control),
        effect_lr=sham - control,
        effect_memorization=full - sham,
        specificity=full - pl.col("y_sham_norm"),
    )


def _arms_of_split(
    total: tuple[str, ...], lr_arm: str, memorization_arm: str
) -> dict[str, tuple[str, ...]]:
    every = (CONTROL, "full", lr_arm, memorization_arm)
    return {
        "effect_total": total,
        "effect_lr": every,
        "effect_memorization": every,
        "interaction": every,
        "effect_lr_first": (CONTROL, lr_arm),
        "effect_lr_last": ("full", memorization_arm),
        "effect_memorization_first": (CONTROL, memorization_arm),
        "effect_memorization_last": ("full", lr_arm),
    }


def _against(name: str, matched: str, per_seed: Callable[[Paired], pl.DataFrame]) -> Estimator:
    """Return the estimator that sets the arms against these controls."""
    three_way = ("control", "full", "class_term", f"{matched}_class_term")
    further = {
        "learning_rate_of_class_term": three_way,
        "class_term_beyond_lr": three_way,
        "uniform_term_last": three_way,
        "uniform_term_beyond_lr": ("uniform_term", f"{matched}_uniform_term"),
    }
    arms = {
        "effect_total": ("control", "full", matched),
        "effect_lr": ("control", matched),
        "effect_memorization": ("full", matched),
        **further,
    }
    return Estimator(name=name, arms=arms, per_seed=per_seed, further=tuple(further))


_ALL = (
    Estimator(
        name="arms",
        arms=_arms_of_split(CONTROL_AND_FULL, "class_term", "uniform_term"),
        per_seed=arms_per_seed,
    ),
    _against("matched", "rescaled", matched_per_seed),
    _against("replayed", "replayed", replayed_per_seed),
    Estimator(
        name="curve",
        arms={
            "effect_total": CONTROL_AND_FULL,
            "effect_lr": CONTROL_AND_FULL,
            "effect_memorization": CONTROL_AND_FULL,
            "effect_lr_class_term_first": ("control", "class_term"),
        },
        per_seed=curve_per_seed,
        further=("effect_lr_class_term_first",),
        lacks=curve_lacks,
        explain=tell_curve,
    ),
    Estimator(
        name="alignment",
        arms={
            "effect_total": CONTROL_AND_FULL,
            "effect_lr": CONTROL_AND_FULL,
            "effect_memorization": CONTROL_AND_FULL,
        },
        per_seed=alignment_per_seed,
        lacks=alignment_lacks,
        explain=tell_alignment,
    ),
    Estimator(
        name="sham",
        arms={
            "effect_total": SHAM_ARMS,
            "effect_lr": ("control", "sham"),
            "effect_memorization": ("full", "sham"),
            "specificity": ("full", "sham_norm"),
        },
        per_seed=sham_per_seed,
        further=("specificity",),
    ),
    Estimator(
        name="projection",
        arms={
            "effect_total": ORTHOGONAL_ARMS,
            "effect_lr": ("full", "orthogonal"),
            "effect_memorization": ("control", "orthogonal"),
            "direction": ("control", "grafted"),
            "step_size": ("full", "grafted"),
        },
        per_seed=projection_per_seed,
        further=("direction", "step_size"),
    ),
    Estimator(
        name="block_mean",
        arms=_arms_of_split(ALL_FOUR_MEANS, "class_mean", "mean_rest"),
        per_seed=block_mean_per_seed,
    ),
)

ESTIMATORS: dict[str, Estimator] = {estimator.name: estimator for estimator in _ALL}
"""Every estimator by name."""
