"""Follow-up: the trials that a finished sweep's analysis lacks, planned from its own rows.

Rescaled trials are controls at the learning rate that an arm amounts to: their class gradient on
the extractor is scaled by the κ measured in that arm. κ of a cell is the mean over its seeds,
because one trial's κ is noisy; a cell keeps the κ of its first follow-up, so that seeds that come
later are matched to the same one.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rlp_sweeps.arms import ARMS
from rlp_sweeps.config import FIELD_TYPES, TrialConfig
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.planner import SweepPlan

MATCHED_ARMS = {arm.matched_to: name for name, arm in ARMS.items() if arm.matched_to is not None}
"""The rescaled arm of each arm that it is matched to."""

_CELL = tuple(name for name in FIELD_TYPES if name not in {"arm", "seed", "matched_multiplier"})

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowUp:
    """What is to be trained besides.

    Attributes:
        trials: New trials, whole replicates first.
        multipliers: Smallest and largest κ of each rescaled arm that is scheduled.
        num_retried: Planned trials that failed and are trained again.
        skipped: Why something could not be scheduled, one sentence each.
    """

    trials: tuple[TrialConfig, ...]
    multipliers: Mapping[str, tuple[float, float]]
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
    matched_to: Iterable[str] = tuple(MATCHED_ARMS),
    num_seeds: int | None = None,
) -> FollowUp:
    """Return what to train besides: rescaled controls, further seeds, failed trials.

    Args:
        plan: The sweep, earlier follow-ups included.
        rows: Its rows of ``trials``.
        matched_to: Arms whose measured κ rescaled trials are scheduled at; those that the sweep
            does not have are passed over.
        num_seeds: Replicates that the sweep shall have; None keeps its own.

    Raises:
        ArgumentError: The sweep is a search or is not finished, an arm has no rescaled one, or it
            has more seeds than asked for.
    """
    matched_to = tuple(matched_to)
    _check_request(plan, rows, matched_to)
    further = _further_seeds(plan, num_seeds)
    everything = [*plan.trials, *further]
    known = {trial.trial_id for trial in everything}
    rescaled: list[TrialConfig] = []
    skipped: list[str] = []
    for arm in matched_to:
        found, num_lacking = _rescaled(everything, rows, arm)
        rescaled += [trial for trial in found if trial.trial_id not in known]
        if num_lacking:
            skipped.append(
                f"{num_lacking} cell(s) of arm {arm!r} get no rescaled control: their κ is missing "
                "or not above 0."
            )
    trials = sorted((*further, *rescaled), key=lambda trial: trial.seed)
    return FollowUp(
        trials=tuple(trials),
        multipliers=_ranges(rescaled),
        num_retried=sum(row["status"] == "failed" for row in rows),
        skipped=tuple(skipped),
    )


def _check_request(plan: SweepPlan, rows: Sequence[Row], matched_to: Sequence[str]) -> None:
    unknown = [arm for arm in matched_to if arm not in MATCHED_ARMS]
    if unknown:
        msg = f"a rescaled control is matched to one of {list(MATCHED_ARMS)}, but got {unknown}."
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
    """Return the rescaled twin of each trial of an arm, and how many cells have no κ."""
    multipliers = _multipliers(trials, rows, arm)
    members = [trial for trial in trials if trial.arm == arm]
    cells = {_cell_of(trial) for trial in members}
    twins = [
        dataclasses.replace(trial, arm=MATCHED_ARMS[arm], matched_multiplier=multipliers[cell])
        for trial in members
        if (cell := _cell_of(trial)) in multipliers
    ]
    return twins, len(cells - set(multipliers))


def _multipliers(
    trials: Sequence[TrialConfig], rows: Sequence[Row], arm: str
) -> dict[tuple[Any, ...], float]:
    """Return κ of each cell: that of its rescaled trials, or the mean of the arm's own."""
    scheduled = {
        _cell_of(trial): trial.matched_multiplier
        for trial in trials
        if trial.arm == MATCHED_ARMS[arm] and trial.matched_multiplier is not None
    }
    by_id = {row["trial_id"]: row for row in rows if row["status"] == "completed"}
    measured: dict[tuple[Any, ...], list[float]] = {}
    for trial in trials:
        kappa = by_id.get(trial.trial_id, {}).get("lr_multiplier")
        if trial.arm == arm and kappa is not None and math.isfinite(kappa):
            measured.setdefault(_cell_of(trial), []).append(kappa)
    means = {cell: fmean(values) for cell, values in measured.items()}
    return {cell: mean for cell, mean in means.items() if mean > 0} | scheduled


def _cell_of(trial: TrialConfig) -> tuple[Any, ...]:
    return tuple(getattr(trial, name) for name in _CELL)


def _ranges(rescaled: Iterable[TrialConfig]) -> dict[str, tuple[float, float]]:
    values: dict[str, list[float]] = {}
    for trial in rescaled:
        if trial.matched_multiplier is not None:
            values.setdefault(trial.arm, []).append(trial.matched_multiplier)
    return {arm: (min(found), max(found)) for arm, found in values.items()}
