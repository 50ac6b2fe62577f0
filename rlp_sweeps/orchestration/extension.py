"""Extension: more values of an axis, more seeds or more points of a sweep that was started before.

The sweep keeps its identity and its groups; what is added forms groups of its own under the engine
and group size that the sweep records. The manifest says what was added when.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.settings import SettingValue, values_of_setting
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace, space_from_dict


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtensionRequest:
    """What shall be added.

    Attributes:
        settings: Further values of axes of a grid by name: texts of ``--set NAME=VALUE``, other
            values, or several.
        num_seeds: Replicates that a grid shall have; None keeps its number.
        num_points: Points that a search shall have; None keeps their number.
    """

    settings: Mapping[str, SettingValue]
    num_seeds: int | None = None
    num_points: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """What is added to a sweep.

    Attributes:
        trials: Trials of a grid that are not planned yet, whole replicates first.
        changes: What the manifest keeps: ``axes`` (added values by name), ``num_seeds``,
            ``num_points``; empty where there is nothing to add.
        num_new_points: Points of a search that are added.
        trials_per_point: Trials of each of them.
    """

    trials: tuple[TrialConfig, ...]
    changes: Mapping[str, Any]
    num_new_points: int = 0
    trials_per_point: int = 0

    @property
    def num_new_trials(self) -> int:
        """Trials that are added; of a search the most that there can be."""
        return len(self.trials) + self.num_new_points * self.trials_per_point

    @property
    def trials_by_arm(self) -> dict[str, int]:
        """Number of new trials of a grid in each arm."""
        return dict(Counter(trial.arm for trial in self.trials))

    def to_dict(self) -> dict[str, Any]:
        """Return the extension ready for JSON."""
        return {
            "num_new_trials": self.num_new_trials,
            "num_new_points": self.num_new_points,
            "trials_by_arm": self.trials_by_arm,
            "trial_ids": [trial.trial_id for trial in self.trials],
            "changes": dict(self.changes),
        }


def current_space(manifest: Mapping[str, Any]) -> SearchSpace:
    """Return the space that a sweep walks, all that was added to it included."""
    space = space_from_dict(manifest["space"])
    for addition in manifest.get("follow_ups", []):
        space = extended(space, addition.get("extends") or {})
    return space


def extended(space: SearchSpace, changes: Mapping[str, Any]) -> SearchSpace:
    """Return a space with what an extension has added.

    Raises:
        SearchSpaceError: The space cannot be rendered, as with λ = 0 on its axis.
        ConfigError: A value is no valid setting.
    """
    axes = dict(space.axes)
    for name, values in changes.get("axes", {}).items():
        old = axes[name]
        axes[name] = ChoiceAxis(choices=(*old.values(), *values), control=old.control)
    search = space.search
    if search is not None:
        search = replace(search, num_points=changes.get("num_points", search.num_points))
    num_seeds = changes.get("num_seeds", space.num_seeds)
    return dataclasses.replace(space, axes=axes, num_seeds=num_seeds, search=search)


def plan_extension(manifest: Mapping[str, Any], request: ExtensionRequest) -> Extension:
    """Return what a request adds to a sweep; nothing is written.

    Args:
        manifest: The sweep's.
        request: What shall be added; what is there already is left out.

    Raises:
        ArgumentError: It cannot be added: a setting that is no axis, a sampled axis, points of a
            grid, less than there is, or nothing was asked for.
        SearchSpaceError: The space cannot be rendered with it.
        ConfigError: A value is no valid setting.
    """
    space = current_space(manifest)
    if not request.settings and request.num_seeds is None and request.num_points is None:
        more = "--num-points N" if space.search else "--set NAME=VALUES or --num-seeds N"
        msg = f"an extension must say what is added to {_kind(space)}; give {more}."
        raise ArgumentError(msg)
    if space.search is not None:
        return _more_points(space, request)
    changes = _grid_changes(space, request)
    planned = {entry["trial_id"] for entry in manifest["trials"]}
    grid = extended(space, changes).grid_configs()
    new = tuple(trial for trial in grid if trial.trial_id not in planned)
    return Extension(trials=new, changes=changes)


def _kind(space: SearchSpace) -> str:
    return "a grid" if space.search is None else "a search"


def _more_points(space: SearchSpace, request: ExtensionRequest) -> Extension:
    search = space.search
    assert search is not None
    if request.settings:
        msg = (
            f"the axes {list(space.axes)} of this sweep are sampled by a search, so that single "
            f"values cannot be added, but got --set for {list(request.settings)}; ask for more "
            "points with --num-points N."
        )
        raise ArgumentError(msg)
    if request.num_seeds is not None:
        msg = (
            f"every point of this search is told as the mean of {space.num_seeds} seed(s), so that "
            f"its number of seeds stays, but got --num-seeds {request.num_seeds}; `rlp-sweeps "
            "follow-up DIR --num-seeds N` trains further seeds of its points."
        )
        raise ArgumentError(msg)
    assert request.num_points is not None
    _check_not_less("num_points", request.num_points, search.num_points)
    num_new = request.num_points - search.num_points
    return Extension(
        trials=(),
        changes={"num_points": request.num_points} if num_new else {},
        num_new_points=num_new,
        trials_per_point=len(space.arms) * space.num_seeds,
    )


def _grid_changes(space: SearchSpace, request: ExtensionRequest) -> dict[str, Any]:
    if request.num_points is not None:
        msg = (
            "a grid has no points to sample, but got "
            f"--num-points {request.num_points}; give values with --set NAME=VALUES."
        )
        raise ArgumentError(msg)
    changes: dict[str, Any] = {}
    axes = {name: _new_values(space, name, text) for name, text in request.settings.items()}
    axes = {name: values for name, values in axes.items() if values}
    if axes:
        changes["axes"] = axes
    if request.num_seeds is not None:
        _check_not_less("num_seeds", request.num_seeds, space.num_seeds)
        if request.num_seeds > space.num_seeds:
            changes["num_seeds"] = request.num_seeds
    return changes


def _new_values(space: SearchSpace, name: str, given: SettingValue) -> list[Any]:
    """Return those of the given values that an axis has not."""
    values: Sequence[Any] = (given,) if name == "data_dir" else values_of_setting(name, given)
    axis = space.axes.get(name)
    if axis is None:
        fixed = f"fixed at {space.fixed[name]!r}" if name in space.fixed else "at its default"
        msg = (
            f"`{name}` must be an axis of the sweep to get more values, but it is {fixed}; its "
            f"axes are {list(space.axes)}. A sweep of its own, `rlp-sweeps run SPACE --set "
            f"{name}={','.join(map(str, values))} --reuse DIR`, takes over what it has in common "
            "with this one."
        )
        raise ArgumentError(msg)
    has: Sequence[Any] = (*axis.values(), axis.control)
    return list(dict.fromkeys(value for value in values if value not in has))


def _check_not_less(name: str, value: int, has: int) -> None:
    if value < has:
        msg = f"`{name} >= {has}` must hold, because the sweep has as many, but got {name}={value}."
        raise ArgumentError(msg)
