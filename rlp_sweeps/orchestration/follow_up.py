"""Follow-up: the trials that a finished sweep's analysis lacks, planned from its own rows.

Rescaled trials are controls at the learning rate that an arm amounts to: their class gradient on
the extractor is scaled by the κ measured in the trial of that arm with the same seed. A mean of κ
over seeds would be less noisy, but its error would be common to all seeds, where no interval over
seeds can see it (docs/analysis.md). κ measures a planted `extractor_scale` as well, which a
rescaled trial has already.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlp_sweeps.arms import ARMS
from rlp_sweeps.config import FIELD_TYPES, TrialConfig
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.planner import SweepPlan

MATCHED_ARMS = {arm.matched_to: name for name, arm in ARMS.items() if arm.matched_to is not None}
"""The rescaled arm of each arm that it is matched to."""

_PLACE = tuple(name for name in FIELD_TYPES if name not in {"arm", "matched_multiplier"})

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowUp:
    """What is to be trained besides.

    Attributes:
        trials: New trials, whole replicates first.
        multipliers: Smallest and largest κ of each rescaled arm that is scheduled.
        num_further: Trials of further seeds among them; their rescaled controls come afterwards.
        num_retried: Planned trials that failed and are trained again.
        skipped: Why something could not be scheduled, one sentence each.
    """

    trials: tuple[TrialConfig, ...]
    multipliers: Mapping[str, tuple[float, float]]
    num_further: int = 0
    num_retried: int = 0
    skipped: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to train."""
        return not self.trials and not self.num_retried


def plan_follow_up(
    plan: SweepPlan,
    rows: Sequence[Row],
    *,
    matched_to: Iterable[str] | None = None,
    num_seeds: int | None = None,
) -> FollowUp:
    """Return what to train besides: rescaled controls, further seeds, failed trials.

    Rescaled controls of further seeds are for a second follow-up, when their κ has been measured.

    Args:
        plan: The sweep, earlier follow-ups included.
        rows: Its rows of ``trials``.
        matched_to: Arms whose measured κ rescaled trials are scheduled at. Default: those that the
            sweep has.
        num_seeds: Replicates that the sweep shall have; None keeps its own.

    Raises:
        ArgumentError: The sweep is a search or is not finished, an arm has no rescaled one or is
            not in the sweep, or it has more seeds than asked for.
    """
    if matched_to is None:
        there = {trial.arm for trial in plan.trials}
        matched_to = (arm for arm in MATCHED_ARMS if arm in there)
    matched_to = tuple(matched_to)
    _check_request(plan, rows, matched_to)
    further = _further_seeds(plan, num_seeds)
    rescaled: list[TrialConfig] = []
    skipped: list[str] = []
    for arm in matched_to:
        found, num_lacking = _rescaled(plan.trials, rows, arm)
        rescaled += found
        if num_lacking:
            skipped.append(
                f"{num_lacking} trial(s) of arm {arm!r} get no rescaled control: their κ is "
                "missing or not above 0."
            )
    trials = sorted((*further, *rescaled), key=lambda trial: trial.seed)
    return FollowUp(
        trials=tuple(trials),
        multipliers=_ranges(rescaled),
        num_further=len(further),
        num_retried=sum(row["status"] == "failed" for row in rows),
        skipped=tuple(skipped),
    )


def _check_request(plan: SweepPlan, rows: Sequence[Row], matched_to: Sequence[str]) -> None:
    unknown = [arm for arm in matched_to if arm not in MATCHED_ARMS]
    if unknown:
        msg = f"a rescaled control is matched to one of {list(MATCHED_ARMS)}, but got {unknown}."
        raise ArgumentError(msg)
    absent = [arm for arm in matched_to if arm not in {trial.arm for trial in plan.trials}]
    if absent and not plan.is_search:
        msg = f"arms {absent} must be in the sweep to be matched; it has {list(plan.space.arms)}."
        raise ArgumentError(msg)
    if plan.is_search:
        msg = (
            f"a follow-up extends a grid, but {plan.name!r} is a search, whose points have no "
            "neighbours to be matched with; give the points of interest as axes of a grid."
        )
        raise ArgumentError(msg)
    ended = {row["trial_id"] for row in rows}
    num_left = sum(trial.trial_id not in ended for trial in plan.trials)
    if num_left:
        msg = (
            f"a follow-up reads a finished sweep, but {num_left} of {len(plan.trials)} planned "
            "trials have no row yet; `rlp-sweeps resume` it first."
        )
        raise ArgumentError(msg)


def _further_seeds(plan: SweepPlan, num_seeds: int | None) -> list[TrialConfig]:
    """Return the whole space over as many further seeds as are lacking."""
    seeds = {trial.seed for trial in plan.trials}
    if num_seeds is None or num_seeds == len(seeds):
        return []
    if num_seeds < len(seeds):
        msg = (
            f"`num_seeds >= {len(seeds)}` must hold, because the sweep has as many, but got "
            f"num_seeds={num_seeds}."
        )
        raise ArgumentError(msg)
    lacking = num_seeds - len(seeds)
    space = dataclasses.replace(plan.space, first_seed=max(seeds) + 1, num_seeds=lacking)
    return [TrialConfig.from_dict(trial) for trial in space.grid()]


def _rescaled(
    trials: Sequence[TrialConfig], rows: Sequence[Row], arm: str
) -> tuple[list[TrialConfig], int]:
    """Return the rescaled twin of each trial of an arm that has none, and how many have no κ."""
    twin = MATCHED_ARMS[arm]
    matched = {_place_of(trial) for trial in trials if trial.arm == twin}
    lacking = [t for t in trials if t.arm == arm and _place_of(t) not in matched]
    multipliers = {
        row["trial_id"]: row["lr_multiplier"]
        for row in rows
        if row["status"] == "completed" and _is_usable(row["lr_multiplier"])
    }
    twins = [
        dataclasses.replace(
            trial,
            arm=twin,
            matched_multiplier=multipliers[trial.trial_id] / trial.extractor_scale,
        )
        for trial in lacking
        if trial.trial_id in multipliers
    ]
    return twins, len(lacking) - len(twins)


def _is_usable(multiplier: float | None) -> bool:
    return multiplier is not None and math.isfinite(multiplier) and multiplier > 0


def _place_of(trial: TrialConfig) -> tuple[Any, ...]:
    return tuple(getattr(trial, name) for name in _PLACE)


def _ranges(rescaled: Iterable[TrialConfig]) -> dict[str, tuple[float, float]]:
    values: dict[str, list[float]] = {}
    for trial in rescaled:
        if trial.matched_multiplier is not None:
            values.setdefault(trial.arm, []).append(trial.matched_multiplier)
    return {arm: (min(found), max(found)) for arm, found in values.items()}
