"""Whether trials can be separated into effects; where not, what is missing and how to add it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from analysis.estimators import ALL_FOUR, ESTIMATORS
from analysis.origin import Origin, Plan
from analysis.pairing import CONTROL, REGULARIZED_ARMS
from analysis.places import name_places, without_control
from analysis.wording import quantity_of

Status = Literal["complete", "partial", "none"]
Reason = Literal[
    "not_trained", "all_diverged", "no_control", "only_control", "no_pair", "no_total", "no_split"
]
"""Why effects are missing: stable names, for programs."""

_NO_SPLIT = "a single head's regularizer has no exact split, so the total cannot be split by term."
_BY_PROJECTION = (
    "Train the arms orthogonal and grafted, and matched controls by `rlp-sweeps follow-up DIR`."
)
_WRONG_REQUESTS = ("no_control", "no_pair")
_TRAINED = ("completed", "diverged")
_IS_REGULARIZED = pl.col("arm").is_in(REGULARIZED_ARMS) & (pl.col("rlp_lambda") > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Separation:
    """What of the separation the trials allow, on the primary outcome.

    Attributes:
        status: ``complete``: total and parts; ``partial``: some effect against a control;
            ``none``: not one.
        reason: Why it is not complete; None where it is.
        missing_arms: Arms of the split, control first, without a trial trained to its end.
        missing: What is missing, a sentence; empty where nothing is.
        way_out: What adds it, a sentence with the command; empty where nothing is missing.
    """

    status: Status
    reason: Reason | None = None
    missing_arms: tuple[str, ...] = ()
    missing: str = ""
    way_out: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether regularized trials were given with no control that they could be compared to.

        Controls alone, or a sweep that failed or diverged, are results, not wrong requests.
        """
        return self.status == "none" and self.reason in _WRONG_REQUESTS

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as JSON-ready values."""
        return {**asdict(self), "missing_arms": list(self.missing_arms)}


def judge_separation(
    trials: pl.DataFrame, pooled: pl.DataFrame, *, outcome: str, origin: Origin
) -> Separation:
    """Return what of the separation the trials allow.

    Args:
        trials: As `load_trials` returns them.
        pooled: Pooled effects, see `schema.EFFECTS_POOLED`.
        outcome: The primary outcome.
        origin: Where the trials come from: what is planned, and in which directories.
    """
    is_trained = pl.col("status").is_in(_TRAINED) & ((pl.col("arm") == CONTROL) | _IS_REGULARIZED)
    arms = set(trials.select(pl.col("arm").filter(is_trained).unique())["arm"])
    lacking = tuple(arm for arm in ALL_FOUR if arm not in arms)
    reason = _reason(trials, pooled, outcome)
    if reason is None:
        return Separation(status="complete")
    has_no_split = "head" in trials.columns and set(trials["head"]) == {"single"}
    if reason == "no_split" and has_no_split:
        return Separation(
            status="partial", reason=reason, missing=_NO_SPLIT, way_out=_BY_PROJECTION
        )
    return Separation(
        status="partial" if reason in {"no_total", "no_split"} else "none",
        reason=reason,
        missing_arms=lacking,
        missing=_missing(reason, trials, lacking, outcome),
        way_out=_way_out(reason, trials, lacking, origin),
    )


def _reason(trials: pl.DataFrame, pooled: pl.DataFrame, outcome: str) -> Reason | None:
    """Return the first rule that holds."""
    rows = pooled.filter(pl.col("outcome") == outcome).select("estimator", "effect").unique()
    found = set(rows.iter_rows())
    is_paired = any(CONTROL in ESTIMATORS[name].arms[effect] for name, effect in found)
    rules: dict[Reason, bool] = {
        "not_trained": not trials["status"].is_in(_TRAINED).any(),
        "all_diverged": not (trials["status"] == "completed").any(),
        "no_control": not (trials["arm"] == CONTROL).any(),
        "only_control": not trials.select(_IS_REGULARIZED.any()).item(),
        "no_pair": not is_paired,
        "no_total": ("arms", "effect_total") not in found,
        "no_split": ("arms", "effect_lr") not in found,
    }
    return next((reason for reason, holds in rules.items() if holds), None)


def _missing(reason: Reason, trials: pl.DataFrame, lacking: tuple[str, ...], outcome: str) -> str:
    noun = quantity_of(outcome).noun
    places = without_control(trials)
    where = f" Without one: {name_places(places)}." if len(places) else ""
    texts: dict[Reason, str] = {
        "not_trained": f"none of the {len(trials):,} trials was trained to its end.",
        "all_diverged": "every trial that was trained to its end diverged, so there is no score to "
        "compare.",
        "no_control": "there is no control trial (rlp_lambda = 0), and the regularizer's effect is "
        f"a difference to it. The arms here are {', '.join(sorted(set(trials['arm'])))}.{where}",
        "only_control": "every trial is a control, so no regularizer was at work."
        if set(trials["arm"]) == {CONTROL}
        else "no trial of a regularized arm has λ > 0, so no regularizer was at work.",
        "no_pair": "no regularized trial shares its cell and seed with a control trial so that "
        f"both have a value of {noun}.{where}",
        "no_total": "no seed has control and full, so the total effect is unknown.",
        "no_split": "no seed has control, full, class_term and uniform_term, so the total cannot "
        "be split.",
    }
    arms = f" Arms without a trial trained to its end: {', '.join(lacking)}."
    return texts[reason] + arms * (reason in {"no_total", "no_split"} and bool(lacking))


def _way_out(reason: Reason, trials: pl.DataFrame, lacking: tuple[str, ...], origin: Origin) -> str:
    if reason == "all_diverged":
        return "Sweep smaller learning rates."
    wanted = lacking or ((CONTROL,) if reason == "no_pair" else ())
    if reason == "no_pair" and without_control(trials).is_empty():
        wanted = ()
    if open_plans := origin.unfinished_plans(trials["trial_id"].to_list(), wanted or ALL_FOUR):
        commands = ", ".join(f"`rlp-sweeps resume {plan.directory}`" for plan in open_plans)
        return f"Planned trials have no row yet: {commands}."
    if reason == "not_trained":
        return "The column `error` of trials says why; mend that and run them in a new directory."
    if not wanted:
        return "Ask for an outcome that has a value there, with `--outcome NAME`, or add seeds."
    if origin.plans and (name := origin.plans[0].sweep_name):
        return _way_out_of_ours(wanted, origin.plans[0], name)
    directories = " ".join(str(plan.directory) for plan in origin.plans) or "DIR"
    at_zero = " (control: rlp_lambda=0)" * (CONTROL in wanted)
    return (
        f"Train {_name_arms(wanted)}{at_zero} in the same cells and seeds, write them to a "
        f"directory of their own and analyze both: `rlp-sweeps analyze {directories} OTHER`."
    )


def _way_out_of_ours(wanted: tuple[str, ...], plan: Plan, name: str) -> str:
    """Return how a recipe trains these arms; a search cannot take trials over."""
    reuse = f" --reuse {plan.directory}" if plan.arms else ""
    command = f"`rlp-sweeps run {name}{reuse}` with the same options"
    if set(wanted) <= set(plan.arms.values()):
        return f"They were planned and failed; {command} trains them again."
    return f"Name {_name_arms(wanted)} in the recipe {name}; {command} trains what is missing."


def _name_arms(arms: tuple[str, ...]) -> str:
    return f"the arm{'s' * (len(arms) > 1)} {', '.join(arms)}"
