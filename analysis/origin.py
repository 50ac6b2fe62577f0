"""What run directories tell about their trials beside the rows: the plan, and double entries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from analysis.border import read_manifest
from rlp_sweeps.claims import Claim
from rlp_sweeps.errors import RunDirectoryError, SearchSpaceError


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one run directory was to train.

    Attributes:
        directory: As it was given.
        sweep_name: Name of the sweep's recipe; None for a table of another program.
        arms: Arm of each planned trial by its id, None where the plan does not say; empty for
            searches and foreign tables.
        seeds: Seed of each planned trial by its id, where the plan says so.
        claims: What the recipe expects.
        added_axes: Axes of the sweep that did not vary when the claims were written.
    """

    directory: Path
    sweep_name: str | None = None
    arms: Mapping[str, str | None] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    added_axes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where trials come from.

    Attributes:
        plans: One a directory, in the order they were given.
        num_twofold: Trials with other outcomes in a later directory, which were not read.
        kept: One row a trial: `trial_id`, and the number of the directory (`duplicates.DIRECTORY`)
            that its row is from; None where nothing is known.
    """

    plans: tuple[Plan, ...] = ()
    num_twofold: int = 0
    kept: pl.DataFrame | None = field(default=None, compare=False)

    @property
    def planned(self) -> frozenset[str]:
        """Ids of the trials that the manifests plan; none for searches and foreign tables."""
        return frozenset[str]().union(*(plan.arms for plan in self.plans))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The plans' claims, each once, in the order of the directories."""
        return tuple(dict.fromkeys(claim for plan in self.plans for claim in plan.claims))

    @property
    def is_planned(self) -> bool:
        """Whether every directory has such a plan, so that a whole sweep can be told as one."""
        return bool(self.plans) and all(plan.arms for plan in self.plans)

    def unfinished_plans(self, trial_ids: Collection[str], arms: Collection[str]) -> list[Plan]:
        """Return the plans with trials of these arms that have no row yet."""
        found = set(trial_ids)
        return [
            plan
            for plan in self.plans
            if any(arm in arms and name not in found for name, arm in plan.arms.items())
        ]


def read_plans(directories: Sequence[Path]) -> tuple[Plan, ...]:
    """Return the plan of each directory.

    Raises:
        RunDirectoryError: A manifest is unreadable, of a newer version, or its plan is no list of
            trials.
    """
    return tuple(_read_plan(directory) for directory in directories)


def _read_plan(directory: Path) -> Plan:
    manifest = read_manifest(directory) or {}
    entries, name = manifest.get("trials", []), manifest.get("sweep_name")
    is_plan = isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("trial_id"), str) for entry in entries
    )
    if not is_plan:
        msg = (
            "`trials` of a manifest must be a list of objects with a `trial_id`, but that of "
            f"{directory / 'manifest.json'} is not. Remove the key where there is no plan."
        )
        raise RunDirectoryError(msg)
    configs = {entry["trial_id"]: entry.get("config") for entry in entries}
    arms = {
        trial_id: config.get("arm") if isinstance(config, dict) else None
        for trial_id, config in configs.items()
    }
    return Plan(
        directory=directory,
        sweep_name=name if isinstance(name, str) else None,
        arms=arms,
        seeds={
            trial_id: config["seed"]
            for trial_id, config in configs.items()
            if isinstance(config, dict) and isinstance(config.get("seed"), int)
        },
        claims=_read_claims(manifest, directory),
        added_axes=_added_axes(manifest.get("space")),
    )


def _added_axes(space: Any) -> tuple[str, ...]:
    claimed = space.get("claimed_axes") if isinstance(space, dict) else None
    return () if claimed is None else tuple(sorted(set(space.get("axes", ())) - set(claimed)))


def _read_claims(manifest: Mapping[str, Any], directory: Path) -> tuple[Claim, ...]:
    space = manifest.get("space")
    try:
        return tuple(Claim(**claim) for claim in (space or {}).get("claims", ()))
    except (AttributeError, TypeError, SearchSpaceError) as error:
        msg = (
            f"`claims` of a manifest's space must be claims, but those of "
            f"{directory / 'manifest.json'} are not ({error}). Remove the key."
        )
        raise RunDirectoryError(msg) from error


def unfinished(origin: Origin, trial_ids: pl.Series) -> str | None:
    """Return "37 of 165 planned trials have a row: …" where some have none, else None."""
    planned = origin.planned
    num_rows = trial_ids.is_in(list(planned)).sum() if planned else 0
    num_planned = len(planned)
    if num_rows == num_planned:
        return None
    verb = "has" if num_rows == 1 else "have"
    return f"{num_rows:,} of {num_planned:,} planned trials {verb} a row: the sweep is not finished"
