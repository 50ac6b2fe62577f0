"""Follow-up: the trials that a finished sweep's analysis lacks, planned from its own rows.

Rescaled trials are controls at the learning rate that an arm amounts to: their class gradient on
the extractor is scaled by the κ measured in the trial of that arm with the same seed. A mean of κ
over seeds would be less noisy, but its error would be common to all seeds, where no interval over
seeds can see it (docs/analysis.md). Replayed trials take κ from one evaluation to the next instead,
cut to a stated range, because late ratios are of noise. κ measures a planted `extractor_scale` as
well, which matched trials have already.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

from rlp_sweeps.arms import ARMS
from rlp_sweeps.config import FIELD_TYPES, MATCHED_SETTINGS, TrialConfig
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.orchestration.planner import SweepPlan

MATCHED_ARMS = {arm.matched_to: n for n, arm in ARMS.items() if arm.matched_to and not arm.replays}
"""The rescaled arm of each arm that it is matched to."""

REPLAYED_ARMS = {arm.matched_to: n for n, arm in ARMS.items() if arm.matched_to and arm.replays}
"""The replayed arm of each arm that it is matched to."""

DEFAULT_CAP = 10.0
"""Largest κ of an interval that is replayed, unless another one is asked for."""

_PLACE = tuple(n for n in FIELD_TYPES if n not in {"arm", *MATCHED_SETTINGS.values()})

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What replayed controls are scheduled from.

    Attributes:
        COLUMNS: Those of ``epochs`` that are read.
        epochs: Rows of ``epochs``.
        cap: κ of an interval is cut to ``0 <= κ <= cap``.

    Raises:
        ArgumentError: The cap is not above 0.
    """

    COLUMNS: ClassVar = ["trial_id", "epoch", "class_grad_sum", "trained_grad_sum"]

    epochs: Sequence[Row]
    cap: float = DEFAULT_CAP

    def __post_init__(self) -> None:
        if not 0 < self.cap < math.inf:
            msg = f"`0 < cap < inf` must hold, but got cap={self.cap!r}."
            raise ArgumentError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowUp:
    """What is to be trained besides.

    Attributes:
        trials: New trials, whole replicates first.
        multipliers: Smallest and largest κ of each matched arm that is scheduled.
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
    asked: Sequence[TrialConfig] = (),
    matched_to: Iterable[str] | None = None,
    num_seeds: int | None = None,
    replay: Replay | None = None,
) -> FollowUp:
    """Return what to train besides: matched controls, further seeds, failed trials.

    Matched controls of further seeds are for a second follow-up, when their κ has been measured.

    Args:
        plan: The sweep, earlier follow-ups included.
        rows: Its rows of ``trials``.
        asked: In a search, the trials of its points.
        matched_to: Arms whose measured κ rescaled trials are scheduled at. Default: those that the
            sweep has.
        num_seeds: Replicates that the sweep shall have; None keeps its own.
        replay: Where given, replayed controls of the same arms are scheduled as well.

    Raises:
        ArgumentError: The sweep is not finished, an arm has no rescaled one or is not in the sweep,
            or it has more seeds than asked for.
    """
    trained = (*asked, *plan.trials)
    there = {trial.arm for trial in trained}
    if matched_to is None:
        matched_to = (arm for arm in MATCHED_ARMS if arm in there)
    matched_to = tuple(matched_to)
    _check_arms(matched_to, there)
    _check_finished(plan, trained, rows)
    further = _further_seeds(trained, num_seeds)
    matched, skipped = _match(trained, rows, matched_to, replay)
    num_failed = sum(row["status"] == "failed" for row in rows)
    if plan.is_search and num_failed:
        skipped.append(f"{num_failed} failed trial(s) of the search are not trained again.")
    trials = sorted((*further, *matched), key=lambda trial: trial.seed)
    return FollowUp(
        trials=tuple(trials),
        multipliers=_ranges(matched),
        num_further=len(further),
        num_retried=0 if plan.is_search else num_failed,
        skipped=tuple(skipped),
    )


def _check_arms(matched_to: Sequence[str], there: Set[str]) -> None:
    unknown = [arm for arm in matched_to if arm not in MATCHED_ARMS]
    if unknown:
        known = f"the arms are {list(MATCHED_ARMS)}."
        ending = advice(unknown[0], MATCHED_ARMS, otherwise=known)
        msg = f"no control can be matched to {unknown}; {ending}"
        raise ArgumentError(msg)
    absent = [arm for arm in matched_to if arm not in there]
    if absent:
        msg = f"arms {absent} must be in the sweep to be matched, but it has {sorted(there)} alone."
        raise ArgumentError(msg)


def _check_finished(plan: SweepPlan, trained: Sequence[TrialConfig], rows: Sequence[Row]) -> None:
    """Refuse a sweep with trials or points to come; a follow-up shall not be planned on a part."""
    ended = {row["trial_id"] for row in rows}
    num_left = sum(trial.trial_id not in ended for trial in trained)
    if num_left:
        msg = (
            f"a follow-up reads a finished sweep, but {num_left} of {len(trained)} planned "
            "trials have no row yet; `rlp-sweeps resume DIR` goes on."
        )
        raise ArgumentError(msg)


def _further_seeds(trained: Sequence[TrialConfig], num_seeds: int | None) -> list[TrialConfig]:
    """Return what the first seed trains, over as many further seeds as are lacking."""
    seeds = {trial.seed for trial in trained}
    if num_seeds is None or num_seeds == len(seeds):
        return []
    if num_seeds < len(seeds):
        msg = (
            f"`num_seeds >= {len(seeds)}` must hold, because the sweep has as many, but got "
            f"num_seeds={num_seeds}."
        )
        raise ArgumentError(msg)
    whole = [t for t in trained if t.seed == min(seeds) and ARMS[t.arm].matched_to is None]
    further = range(max(seeds) + 1, max(seeds) + 1 + num_seeds - len(seeds))
    return [dataclasses.replace(trial, seed=seed) for seed in further for trial in whole]


def _match(
    trained: Sequence[TrialConfig],
    rows: Sequence[Row],
    matched_to: Sequence[str],
    replay: Replay | None,
) -> tuple[list[TrialConfig], list[str]]:
    """Return the matched controls that these arms lack, and what a reader must know of them."""
    completed = {row["trial_id"] for row in rows if row["status"] == "completed"}
    multipliers = {row["trial_id"]: row["lr_multiplier"] for row in rows}
    why_not = "their κ is missing or not above 0"
    matchings = [_Matching("rescaled", why_not, MATCHED_ARMS, completed, multipliers.get)]
    trajectories = None if replay is None else _Trajectories(replay)
    if trajectories is not None:
        why_not = "they have no κ between evaluations, or an older version kept none"
        matchings.append(_Matching("replayed", why_not, REPLAYED_ARMS, completed, trajectories.of))
    matched: list[TrialConfig] = []
    skipped: list[str] = []
    for matching, arm in itertools.product(matchings, matched_to):
        found, num_lacking = matching.twins(trained, arm)
        matched += found
        if num_lacking:
            skipped.append(
                f"{num_lacking} trial(s) of arm {arm!r} get no {matching.name} control: "
                f"{matching.why_not}."
            )
    if trajectories is not None and trajectories.num_cut:
        skipped.append(trajectories.describe_cuts())
    return matched, skipped


@dataclass(frozen=True, slots=True)
class _Matching:
    """One way to train controls at the learning rate that an arm amounts to.

    Attributes:
        name: What such controls are called.
        why_not: Why a trial gets none, the end of a sentence.
        arms: The matched arm of each arm.
        completed: Ids of the trials whose κ counts.
        measure: Function from a trial's id to its κ, one number or one an interval; None where it
            is not known.
    """

    name: str
    why_not: str
    arms: Mapping[str, str]
    completed: Set[str]
    measure: Callable[[str], float | list[float] | None]

    def twins(self, trials: Sequence[TrialConfig], arm: str) -> tuple[list[TrialConfig], int]:
        """Return the matched twin of each trial of an arm that has none, and how many have no κ."""
        twin = self.arms[arm]
        matched = {_place_of(trial) for trial in trials if trial.arm == twin}
        lacking = [t for t in trials if t.arm == arm and _place_of(t) not in matched]
        found = [self._twin(trial, twin) for trial in lacking]
        twins = [trial for trial in found if trial is not None]
        return twins, len(lacking) - len(twins)

    def _twin(self, trial: TrialConfig, twin: str) -> TrialConfig | None:
        measured = self.measure(trial.trial_id) if trial.trial_id in self.completed else None
        settings: dict[str, Any]
        if isinstance(measured, list):
            if len(measured) != trial.num_evaluations:
                return None
            numbers = (f"{multiplier / trial.extractor_scale:.6g}" for multiplier in measured)
            settings = {"matched_trajectory": " ".join(numbers)}
        elif measured is not None and math.isfinite(measured) and measured > 0:
            settings = {"matched_multiplier": measured / trial.extractor_scale}
        else:
            return None
        return dataclasses.replace(trial, arm=twin, **settings)


class _Trajectories:
    """κ from one evaluation to the next, of every trial.

    Attributes:
        num_intervals: Intervals asked for so far.
        num_cut: Those whose κ is not the measured one.
    """

    def __init__(self, replay: Replay) -> None:
        self._cap = replay.cap
        self._sums: dict[str, list[tuple[float, float]]] = {}
        for row in sorted(replay.epochs, key=lambda row: int(row["epoch"])):
            class_grad, trained = row["class_grad_sum"], row["trained_grad_sum"]
            if class_grad is None or trained is None:  # an older version's row
                continue
            if math.isfinite(class_grad) and math.isfinite(trained):
                self._sums.setdefault(row["trial_id"], []).append((class_grad, trained))
        self.num_intervals = 0
        self.num_cut = 0

    def of(self, trial_id: str) -> list[float] | None:
        """Return κ of each interval; None where no interval has one.

        Where the class gradient's sum does not grow, all is noise, and κ is that of the interval
        before, or behind where there is none.
        """
        sums = [(0.0, 0.0), *self._sums.get(trial_id, ())]
        measured: list[float | None] = [
            (trained - trained_before) / (class_grad - class_grad_before)
            if class_grad > class_grad_before
            else None
            for (class_grad_before, trained_before), (class_grad, trained) in itertools.pairwise(
                sums
            )
        ]
        last = next((kappa for kappa in measured if kappa is not None), None)
        if last is None:
            return None
        replayed = []
        for kappa in measured:
            last = last if kappa is None else kappa
            replayed.append(min(max(last, 0.0), self._cap))
        self.num_intervals += len(replayed)
        self.num_cut += sum(k != r for k, r in zip(measured, replayed, strict=True))
        return replayed

    def describe_cuts(self) -> str:
        """Return how many intervals do not have the κ that was measured, one sentence."""
        return (
            f"κ of {self.num_cut} of {self.num_intervals} replayed intervals lay outside 0 … "
            f"{self._cap:g} and was cut to that, or had no class gradient to be measured by and "
            "is that of the interval before."
        )


def _place_of(trial: TrialConfig) -> tuple[Any, ...]:
    return tuple(getattr(trial, name) for name in _PLACE)


def _ranges(matched: Iterable[TrialConfig]) -> dict[str, tuple[float, float]]:
    values: dict[str, list[float]] = {}
    for trial in matched:
        scales = {trial.class_loss_scale(epoch) for epoch in range(1, trial.num_epochs + 1)}
        values.setdefault(trial.arm, []).extend(s / trial.extractor_scale for s in scales)
    return {arm: (min(found), max(found)) for arm, found in values.items()}
