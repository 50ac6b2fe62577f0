"""What is asked of a sweep, made into a plan: the same for the command line and for Python."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.recipes import NamedSpace, load_space
from rlp_sweeps.settings import SettingValue
from rlp_sweeps.spaces import SearchSpace
from rlp_sweeps.stores import as_path

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.planner import SweepPlan
    from rlp_sweeps.orchestration.progress import RunOptions

SpaceLike = SearchSpace | str | Path
"""A search space, or what names one: see `recipes.load_space`."""

UNNAMED = "sweep"
"""Name of a sweep whose space has no module to be named after."""


def resolve_space(
    space: SpaceLike,
    *,
    overrides: Mapping[str, SettingValue] | None = None,
    num_seeds: int | None = None,
    first_seed: int | None = None,
    name: str | None = None,
) -> NamedSpace:
    """Return the search space that is asked for, with overrides and seeds applied.

    Args:
        space: A search space, or what names one.
        overrides: Values that replace settings, see `SearchSpace.override`.
        num_seeds: Replicates; None: the space's number.
        first_seed: Number of the first replicate; None: the space's.
        name: Names the sweep; None: its module's name, or `UNNAMED`.

    Raises:
        SearchSpaceError: There is no such space, or it cannot be rendered as asked.
        ConfigError: A setting is unknown or its value breaks its rule.
        ArgumentError: The name is none for a folder.
    """
    if isinstance(space, SearchSpace):
        named = NamedSpace(name=UNNAMED, space=space, doc="")
    else:
        named = load_space(str(space))
    changed = named.space.override(overrides) if overrides else named.space
    seeds = {"num_seeds": num_seeds, "first_seed": first_seed}
    given: dict[str, Any] = {key: value for key, value in seeds.items() if value is not None}
    if given:
        changed = dataclasses.replace(changed, **given)
    return dataclasses.replace(named, space=changed, name=_checked_name(name or named.name))


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        msg = (
            "the name of a sweep must be of letters, digits and `_.-`, because folders are named "
            f"after it, but got name={name!r}."
        )
        raise ArgumentError(msg)
    return name


def plan_of(
    named: NamedSpace,
    options: "RunOptions",
    *,
    engine: str = "auto",
    group_size: int | None = None,
    checks_data: bool = True,
) -> "SweepPlan":
    """Return the plan of a space where it is to run; nothing is written.

    Args:
        named: The space.
        options: Where it runs.
        engine: How groups are trained, or ``auto``.
        group_size: Most trials in a group; None chooses.
        checks_data: Refuse data that are not there.

    Raises:
        RlpSweepsError: As `plan_sweep` and `room_for` raise.
    """
    from rlp_sweeps.orchestration.planner import plan_sweep, resolve_device
    from rlp_sweeps.orchestration.room import room_for

    return plan_sweep(
        named.space,
        name=named.name,
        device=options.device,
        engine=engine,
        group_size=group_size,
        room=room_for(options, device=resolve_device(options.device)),
        checks_data=checks_data,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRun:
    """A sweep that can be started.

    Attributes:
        plan: What is trained.
        options: Where it runs, with what the space asks for.
        directory: Where it is kept.
        notices: What a reader must know of it, one sentence each.
    """

    plan: "SweepPlan"
    options: "RunOptions"
    directory: Path
    notices: tuple[str, ...]


def prepare_run(
    named: NamedSpace,
    options: "RunOptions",
    *,
    engine: str = "auto",
    group_size: int | None = None,
    output: Path | None = None,
) -> PreparedRun:
    """Plan a sweep and say where it is kept; nothing is written.

    Args:
        named: The space.
        options: Where it runs.
        engine: How groups are trained, or ``auto``.
        group_size: Most trials in a group; None chooses.
        output: The run directory; None: `default_directory`.

    Raises:
        RlpSweepsError: As `plan_of` raises; or a probe fits no trial.
    """
    keep_samples = options.keep_samples or named.space.keep_samples
    options = dataclasses.replace(options, keep_samples=keep_samples)
    plan = plan_of(named, options, engine=engine, group_size=group_size)
    from rlp_sweeps.orchestration.plan_notices import plan_notices

    notices = plan_notices(plan)
    if options.probes:
        from rlp_sweeps.orchestration.probe_fit import left_out_of_plan

        notices += left_out_of_plan(plan, options.probes)
    directory = output or default_directory(named.name)
    return PreparedRun(plan=plan, options=options, directory=directory, notices=notices)


def default_directory(name: str) -> Path:
    """Return where a sweep of this name is kept if nobody says: ``runs/NAME-DATE-TIME``."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def probe_names(probes: str | Sequence[str]) -> tuple[str, ...]:
    """Return the probes that ``all`` or names stand for; none of an empty value.

    Args:
        probes: ``all``, names separated by commas, or names.

    Raises:
        ProbeError: There is none between the commas, or one is unknown.
    """
    if not probes:
        return ()

    from rlp_sweeps.probes import PROBES, ProbeOptions

    names = split_names([probes] if isinstance(probes, str) else probes)
    names = list(PROBES) if names == ["all"] else names
    return ProbeOptions(probes=tuple(dict.fromkeys(names))).probes


def split_names(texts: Sequence[str]) -> list[str]:
    """Return the names in texts that may hold several, separated by commas."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def run_options(settings: Mapping[str, Any]) -> "RunOptions":
    """Return where a sweep runs, from the keyword arguments that say it.

    Args:
        settings: Fields of `RunOptions` by name; `reuse` takes texts as well, `probes` what
            `probe_names` takes.

    Raises:
        ArgumentError: A name is unknown, or a value breaks its rule.
    """
    from rlp_sweeps.orchestration.progress import RunOptions

    known = [field.name for field in dataclasses.fields(RunOptions)]
    for name in settings:
        if name not in known:
            way_out = advice(name, known, otherwise=f"the options are {known}.")
            msg = f"unknown option {name!r} of a sweep; {way_out}"
            raise ArgumentError(msg)
    values = dict(settings)
    if "reuse" in values:
        given = values["reuse"]
        paths = [given] if isinstance(given, str | Path) else given
        values["reuse"] = tuple(as_path(path) for path in paths)
    if "probes" in values:
        values["probes"] = probe_names(values["probes"])
    return RunOptions(**values)
