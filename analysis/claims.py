"""Claims checked: each is one number a seed, an interval over seeds, and what it says of a bound.

The queries see ``trials`` as effects do: a diverged trial's class outcomes are those of chance, and
what is missing is NaN, so that a mean over it is missing too (MAX and MIN pass over it). Only whole
replicates count: a seed with a trial that has no outcome (failed, stopped, not yet trained) takes
part in no claim.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs

from analysis.border import DTYPES, PartFiles, check_unchanged, rereads
from analysis.duplicates import DIRECTORY
from analysis.intervals import infer
from analysis.origin import Origin, Plan
from analysis.pairing import Diverged, score
from analysis.query import PART_TABLES, run_sql, scan_tables
from analysis.wording import MINUS, Paragraph
from rlp_sweeps.claim_columns import CLAIM_VALUES, CLAIMS
from rlp_sweeps.claims import Claim
from rlp_sweeps.errors import QueryError
from rlp_sweeps.schema import METRICS

_INTERVAL = ("estimate", "ci_low", "ci_high", "n")


class Checked(NamedTuple):
    """The claims of a sweep, checked.

    Attributes:
        table: One row a claim (`schema.CLAIMS`).
        values: One row a claim and seed (`schema.CLAIM_VALUES`).
    """

    table: pl.DataFrame
    values: pl.DataFrame


@rereads
def check_claims(
    directories: Sequence[Path],
    trials: pl.DataFrame,
    *,
    origin: Origin,
    diverged: Diverged = "chance",
    results: Mapping[str, pl.DataFrame] | None = None,
) -> Checked:
    """Return what the claims of the directories' plans came to.

    Each plan's claims are asked of its own trials, whatever else is analyzed beside them.

    Args:
        directories: Run directories, whose tables the queries see.
        trials: As `load_trials` returns them.
        origin: What the directories plan and claim.
        diverged: What a diverged trial scores.
        results: Tables of this analysis by name, which the queries see too.
    """
    rows, values = [], []
    files: list[PartFiles] = []
    parts = _part_tables(directories, files) if origin.claims else {}
    asked: set[Claim] = set()
    for number, plan in enumerate(origin.plans):
        claims = [claim for claim in plan.claims if claim not in asked]
        asked |= set(claims)
        own, num_left_out = _whole_replicates(_own_trials(trials, plan, number, origin), plan)
        tables = {name: _of_trials(frame, own) for name, frame in parts.items()}
        tables |= {name: table.lazy() for name, table in (results or {}).items()}
        tables["trials"] = _scored(own, diverged).lazy()
        mixed = _mixed(own, plan.added_axes)
        for claim in claims:
            row, found = _check(claim, tables, num_seeds=own["seed"].n_unique(), mixed=mixed)
            if num_left_out and found and row["reason"] is None:
                row["reason"] = f"{num_left_out} seed(s) left out: not every trial has an outcome"
            rows.append(row)
            values += [{"text": claim.text, "seed": s, "value": v} for s, v in found]
    check_unchanged(files)
    schemas = [{c.name: DTYPES[c.dtype] for c in columns} for columns in (CLAIMS, CLAIM_VALUES)]
    return Checked(pl.DataFrame(rows, schemas[0]), pl.DataFrame(values, schemas[1]))


def tell_claims(table: pl.DataFrame) -> list[Paragraph]:
    """Return one paragraph a claim."""
    return [Paragraph(f"Claim, {row['result']}", _tell(row)) for row in table.to_dicts()]


def format_claim(row: Mapping[str, Any]) -> str:
    """Return "+1.2 points [+0.3, +2.1], n = 5" of a row of ``claims``."""
    if row["estimate"] is None:
        return "not measured"
    unit = " points" if row["unit"] == "points" else ""
    text = f"{_number(row['estimate'], row['unit'])}{unit}"
    if row["ci_low"] is not None:
        low, high = _number(row["ci_low"], row["unit"]), _number(row["ci_high"], row["unit"])
        text += f" [{low}, {high}]"
    return f"{text}, n = {row['num_replicates']}"


def format_expectation(row: Mapping[str, Any]) -> str:
    """Return what a claim expects of its quantity, in words."""
    bound = _number(row["bound"], row["unit"]).lstrip("+") + " points" * (row["unit"] == "points")
    if row["bound"] == 0:
        bound = "0"
    return f"within ±{bound}" if row["expects"] == "within" else f"{row['expects']} {bound}"


def _tell(row: Mapping[str, Any]) -> str:
    text = f"{row['text'].rstrip('.')} ({row['source']}). {row['quantity']}: {format_claim(row)}"
    text += f"; expected {format_expectation(row)}."
    return f"{text} {_sentence(row['reason'])}" if row["reason"] else text


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:].rstrip('.')}."


def _number(value: float, unit: str) -> str:
    text = f"{value * 100:+.1f}" if unit == "points" else f"{value:+.3g}"
    return text.replace("-", MINUS)


def _own_trials(trials: pl.DataFrame, plan: Plan, number: int, origin: Origin) -> pl.DataFrame:
    """Return the trials that a plan planned; of a search, those that were read in its directory."""
    if plan.arms:
        return trials.filter(pl.col("trial_id").is_in(list(plan.arms)))
    if origin.kept is None or len(origin.plans) == 1:
        return trials
    read_here = origin.kept.filter(pl.col(DIRECTORY) == number)["trial_id"]
    return trials.filter(pl.col("trial_id").is_in(read_here.implode()))


def _whole_replicates(trials: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, int]:
    """Return the trials of seeds in which every trial has an outcome, and how many seeds have not.

    Trials that are planned and have no row are looked for by id.
    """
    is_open = ~pl.col("status").is_in(["completed", "diverged"])
    broken = set(trials.filter(is_open)["seed"])
    found = set(trials["trial_id"])
    broken |= {seed for trial_id, seed in plan.seeds.items() if trial_id not in found}
    return trials.filter(~pl.col("seed").is_in(list(broken))), len(broken)


def _scored(trials: pl.DataFrame, diverged: Diverged) -> pl.DataFrame:
    """Return the trials with every metric as effects read it; NaN where there is none."""
    return trials.with_columns(
        score(name, diverged=diverged).cast(pl.Float64).fill_null(math.nan).alias(name)
        for name in METRICS
        if name in trials.columns
    )


def _part_tables(directories: Sequence[Path], files: list[PartFiles]) -> dict[str, pl.LazyFrame]:
    """Return `epochs`, `probes` and `samples`, each row once; what a probe lacks is NaN.

    Args:
        directories: Run directories.
        files: Takes the part files that are scanned.
    """
    frames: dict[str, list[pl.LazyFrame]] = {}
    for directory in directories:
        for name, frame in scan_tables(directory, files).items():
            if name in PART_TABLES and name != "trials":
                frames.setdefault(name, []).append(frame)
    tables = {}
    for name, parts in frames.items():
        table = pl.concat(parts, how="diagonal_relaxed")
        if len(parts) > 1 and PART_TABLES[name]:
            table = table.unique(PART_TABLES[name], keep="first", maintain_order=True)
        tables[name] = table
    if "probes" in tables:
        tables["probes"] = tables["probes"].with_columns(cs.float().fill_null(math.nan))
    return tables


def _of_trials(frame: pl.LazyFrame, trials: pl.DataFrame) -> pl.LazyFrame:
    return frame.join(trials.lazy().select("trial_id"), on="trial_id", how="semi")


def _mixed(trials: pl.DataFrame, added_axes: Sequence[str]) -> str | None:
    """Return why claims cannot be asked of trials that vary in what the claims do not know of."""
    regularized = trials.filter(pl.col("arm") != "control")
    counts = {
        name: (regularized if name == "rlp_lambda" else trials)[name].n_unique()
        for name in added_axes
        if name in trials.columns
    }
    varying = [f"`{name}` ({count} values)" for name, count in counts.items() if count > 1]
    if not varying:
        return None
    return (
        f"not judged: {', '.join(varying)} did not vary where the claim was written, so that its "
        "query would mix cells; run the recipe with one value of each (`--set NAME=VALUE`)"
    )


_Values = list[tuple[int, float]]


def _check(
    claim: Claim, tables: Mapping[str, pl.LazyFrame], *, num_seeds: int, mixed: str | None
) -> tuple[dict[str, Any], _Values]:
    row: dict[str, Any] = {
        **{name: getattr(claim, name) for name in ("text", "source", "quantity")},
        **{name: getattr(claim, name) for name in ("expects", "bound", "unit")},
        **dict.fromkeys(("estimate", "ci_low", "ci_high")),
        "num_replicates": 0,
        "result": "not measured",
        "reason": mixed,
    }
    if mixed is not None:
        return row, []
    try:
        answer = run_sql(claim.measure, tables)
    except QueryError as error:
        return {**row, "reason": str(error)}, []
    if set(_INTERVAL) <= set(answer.columns):
        return {**row, **_given_interval(claim, answer)}, []
    if not {"seed", "value"} <= set(answer.columns) or answer["seed"].is_duplicated().any():
        reason = (
            "the query of a claim must return one row a seed with `seed` and `value`, or one row "
            f"with {list(_INTERVAL)}, but it returns {answer.height} row(s) of {answer.columns}"
        )
        return {**row, "reason": reason}, []
    found = answer.select(pl.col("seed").cast(pl.Int64), pl.col("value").cast(pl.Float64))
    found = found.filter(pl.col("value").is_finite()).sort("seed")
    values = list(found.iter_rows())
    if not values:
        return {**row, "reason": "no seed has a value"}, []
    row |= _over_seeds(claim, found["value"].to_numpy())
    if len(values) < num_seeds and row["reason"] is None:
        row["reason"] = f"{num_seeds - len(values)} seed(s) have no value"
    return row, values


def _over_seeds(claim: Claim, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    found = infer(values[:, None], np.array([0]))
    ends = {name: float(found[name][0, 0]) for name in ("estimate", "ci_low", "ci_high")}
    num_seeds = len(values)
    reason = None
    if math.isnan(ends["ci_low"]):
        reason = "one seed has no interval" if num_seeds == 1 else "the seeds have no spread"
    elif ends["ci_low"] == ends["ci_high"]:
        reason = "the seeds have no spread"
    low, high = ends["ci_low"], ends["ci_high"]
    if num_seeds > 1 and math.isnan(low):
        low = high = ends["estimate"]  # every seed has this value
    return {
        **{name: None if math.isnan(value) else value for name, value in ends.items()},
        "num_replicates": num_seeds,
        "result": judge(claim, low, high),
        "reason": reason,
    }


def _given_interval(claim: Claim, answer: pl.DataFrame) -> dict[str, Any]:
    if answer.height != 1:
        return {"reason": f"the query of a claim must return one row, but has {answer.height}"}
    row = answer.row(0, named=True)
    estimate, low, high = (_finite(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    if estimate is None:
        return {"reason": "the query gives no number"}
    found = {"estimate": estimate, "num_replicates": int(row["n"])}
    if low is None or high is None:
        return {**found, "result": "not resolved", "reason": "there is no interval"}
    return {**found, "ci_low": low, "ci_high": high, "result": judge(claim, low, high)}


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def judge(claim: Claim, low: float, high: float) -> str:
    """Return what an interval says: agrees, disagrees, or not resolved (NaN ends included)."""
    sides = {
        "above": (low > claim.bound, high < claim.bound),
        "below": (high < claim.bound, low > claim.bound),
        "within": (
            -claim.bound < low and high < claim.bound,
            low > claim.bound or high < -claim.bound,
        ),
    }
    agrees, disagrees = sides[claim.expects]
    return "agrees" if agrees else "disagrees" if disagrees else "not resolved"
