"""Search spaces: axes stated once, rendered as a grid, and for Optuna by ``orchestration``.

A space is data. Its axes say what varies, its arms say which interventions each point trains, its
seeds are the replicates that pair the arms.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rlp_sweeps.arms import MAIN_ARMS, get_arm
from rlp_sweeps.axes import Axis, ChoiceAxis, LinearAxis, LogAxis, as_values
from rlp_sweeps.claims import Claim
from rlp_sweeps.config import Scalar, TrialConfig, check_value
from rlp_sweeps.errors import SearchSpaceError
from rlp_sweeps.head_kinds import ARMS_WITHOUT_SPLIT
from rlp_sweeps.settings import SettingValue, values_of_setting

__all__ = [
    "OBJECTIVES",
    "SAMPLERS",
    "Axis",
    "ChoiceAxis",
    "Claim",
    "LinearAxis",
    "LogAxis",
    "Search",
    "SearchSpace",
    "space_from_dict",
]

OBJECTIVES: dict[str, str] = {"val_accuracy": "max", "val_loss": "min", "memorization": "min"}
"""What a search may optimize, and in which direction; never a test metric."""

SAMPLERS = ("tpe", "random")


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """How Optuna walks the axes instead of the grid.

    Each sampled point trains every arm of the space over all its seeds as one group, so that each
    point is a complete cell; the sampler is told the seeds' mean in `objective_arm`.

    Attributes:
        num_points: Points to sample.
        objectives: One or two names of `OBJECTIVES`; two make the search multi-objective.
        sampler: ``tpe`` or ``random``.
        objective_arm: The arm whose trials are told to the sampler.
        sampler_seed: Seed of the sampler.
        early_stopping: Successive halving: among the points of a group, or (ASHA) among points of
            a single trial that are trained one at a time.
        grace_epochs: Epochs before a point can be stopped.
        reduction_factor: One in so many points goes on at each rung.
    """

    num_points: int
    objectives: tuple[str, ...] = ("val_accuracy",)
    sampler: str = "tpe"
    objective_arm: str = "full"
    sampler_seed: int = 0
    early_stopping: bool = False
    grace_epochs: int = 1
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", as_values("objectives", self.objectives))
        for name in ("num_points", "sampler_seed", "grace_epochs", "reduction_factor"):
            value = getattr(self, name)
            if type(value) is not int:
                msg = f"`{name}` of a search must be a whole number, but got {name}={value!r}."
                raise SearchSpaceError(msg)
        is_single = len(self.objectives) == 1
        rules = {
            ("num_points", "1 <= num_points"): self.num_points >= 1,
            ("sampler", f"sampler in {SAMPLERS}"): self.sampler in SAMPLERS,
            ("grace_epochs", "1 <= grace_epochs"): self.grace_epochs >= 1,
            ("reduction_factor", "2 <= reduction_factor"): self.reduction_factor >= 2,
            ("objectives", f"one or two objectives out of {tuple(OBJECTIVES)}"): (
                1 <= len(self.objectives) <= 2
                and len(set(self.objectives)) == len(self.objectives)
                and set(self.objectives) <= set(OBJECTIVES)
            ),
            ("objectives", "a single objective with early_stopping"): not self.early_stopping
            or is_single,
        }
        for (name, rule), holds in rules.items():
            if not holds:
                msg = f"`{rule}` must hold in a search, but got {name}={getattr(self, name)!r}."
                raise SearchSpaceError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """One study: what varies, under which arms, over how many seeds.

    Attributes:
        claim: The statement the study tests, one sentence.
        source: Where the statement stands: paper, figure.
        axes: Parameter name to axis.
        arms: Arms that each point trains; a grid needs ``control``. Where not given: those of
            `MAIN_ARMS` that the heads have, or ``control`` alone in a space without λ.
        fixed: Settings that do not vary, by name.
        num_seeds: Replicates.
        first_seed: Number of the first replicate.
        search: Walk the axes with Optuna; a grid where missing.
        data_dir: Folder that data sets are read from; no part of a trial's identity.
        claims: What the analysis checks by an interval; no part of what is trained.
        probes: Probes of every trial at the end of its training, see ``rlp-sweeps probe``.
        keep_samples: Keep what every network says of every sample, as ``run --keep-samples`` does.
        claimed_axes: What varied when the claims were written, where settings were replaced since;
            None: they were not, and the claims know the axes as they are.

    Raises:
        SearchSpaceError: The space cannot be rendered.
        ConfigError: One of its values is no valid setting.
    """

    axes: Mapping[str, Axis]
    num_seeds: int
    claim: str = ""
    source: str = ""
    arms: tuple[str, ...] = ()
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    first_seed: int = 0
    search: Search | None = None
    data_dir: str = "data"
    claims: tuple[Claim, ...] = ()
    probes: tuple[str, ...] = ()
    keep_samples: bool = False
    claimed_axes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_kinds(self)
        object.__setattr__(self, "axes", dict(self.axes))
        object.__setattr__(self, "fixed", dict(self.fixed))
        has_lambda = "rlp_lambda" in self.axes or "rlp_lambda" in self.fixed
        object.__setattr__(self, "claims", as_values("claims", self.claims))
        object.__setattr__(self, "probes", as_values("probes", self.probes))
        if self.claimed_axes is not None:
            object.__setattr__(self, "claimed_axes", tuple(self.claimed_axes))
        arms = self.arms or (self._main_arms() if has_lambda else ("control",))
        object.__setattr__(self, "arms", as_values("arms", arms))
        _check_design(self)
        _check_arms(self)
        for name, axis in self.axes.items():
            _check_axis(name, axis, is_search=self.search is not None)
        for name, value in self.fixed.items():
            self.fixed[name] = check_value(name, value)  # type: ignore[index]  # our own copy
        _check_lambda(self)
        for point in itertools.islice(self.points(), 1):
            for trial in self.trials_of(point):
                TrialConfig.from_dict(trial)

    def _main_arms(self) -> tuple[str, ...]:
        """Return the main arms that every head of the space has."""
        axis = self.axes.get("head")
        heads = {self.fixed.get("head", "nested_joint")} if axis is None else set(axis.values())
        lacking = {arm for head in heads for arm in ARMS_WITHOUT_SPLIT.get(str(head), ())}
        return tuple(arm for arm in MAIN_ARMS if arm not in lacking)

    @property
    def seeds(self) -> range:
        """The replicates' numbers."""
        return range(self.first_seed, self.first_seed + self.num_seeds)

    def points(self) -> Iterator[dict[str, Scalar]]:
        """Yield the grid's points: one value an axis, without arm and seed."""
        columns = [_grid_values(name, axis) for name, axis in self.axes.items()]
        for values in itertools.product(*columns):
            yield dict(zip(self.axes, values, strict=True))

    def trials_of(self, point: Mapping[str, Scalar]) -> list[dict[str, Scalar]]:
        """Return the trials of one point: every seed under every arm, as settings by name."""
        shared = {"label_smoothing": 0.0, **self.fixed, **point}
        trials = []
        for seed, arm in itertools.product(self.seeds, self.arms):
            rlp_lambda = 0.0 if arm == "control" else shared.get("rlp_lambda")
            trials.append({**shared, "arm": arm, "rlp_lambda": rlp_lambda, "seed": seed})
        return trials

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """Yield every trial of the grid once, as settings by name; see `grid_configs`."""
        return (settings for settings, _ in self._grid())

    def grid_configs(self) -> Iterator[TrialConfig]:
        """Yield every trial of the grid once, whole replicates first.

        λ does not touch the control arm, so that one control trial serves all λ of its cell.
        """
        return (config for _, config in self._grid())

    def _grid(self) -> Iterator[tuple[dict[str, Scalar], TrialConfig]]:
        points = list(self.points())
        seen: set[str] = set()
        for seed in self.seeds:
            single = dataclasses.replace(self, num_seeds=1, first_seed=seed, search=None)
            for point in points:
                for trial in single.trials_of(point):
                    config = TrialConfig.from_dict(trial)
                    key = config.trial_id
                    if key not in seen:
                        seen.add(key)
                        yield trial, config

    def override(self, settings: Mapping[str, SettingValue]) -> Self:
        """Return the space with settings replaced, as ``--set NAME=VALUE`` writes them.

        Texts are parsed as there; other values, and lists of them, are taken as they are.

        A fixed setting takes the value; an axis takes the value(s), separated by commas, and keeps
        its control value; any other setting takes one value (fixed) or several (a new axis).

        Raises:
            ConfigError: A name or a value is none that a trial knows.
        """
        axes, fixed, data_dir = dict(self.axes), dict(self.fixed), self.data_dir
        for name, given in settings.items():
            if name == "data_dir":
                data_dir = str(given)
                continue
            values = values_of_setting(name, given)
            old = axes.get(name)
            if old is None and len(values) == 1:
                fixed[name] = values[0]
                continue
            control = 0.0 if old is None and name == "rlp_lambda" else getattr(old, "control", None)
            axes[name] = ChoiceAxis(choices=values, control=control)
            fixed.pop(name, None)
        claimed_axes = self._varying() if self.claimed_axes is None else self.claimed_axes
        return dataclasses.replace(
            self, axes=axes, fixed=fixed, data_dir=data_dir, claimed_axes=claimed_axes
        )

    def _varying(self) -> tuple[str, ...]:
        """Return the axes of more than one value; all of a search."""
        return tuple(
            name
            for name, axis in self.axes.items()
            if self.search is not None or len(_grid_values(name, axis)) > 1
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the space as JSON-ready values, for the manifest."""
        axes = {
            name: {"type": type(axis).__name__, **dataclasses.asdict(axis)}
            for name, axis in self.axes.items()
        }
        return {**dataclasses.asdict(self), "axes": axes}


def space_from_dict(values: Mapping[str, Any]) -> SearchSpace:
    """Return the space that `SearchSpace.to_dict` wrote.

    Raises:
        SearchSpaceError: An axis has an unknown type.
    """
    kinds = {kind.__name__: kind for kind in (LogAxis, LinearAxis, ChoiceAxis)}
    axes: dict[str, Axis] = {}
    for name, axis in values["axes"].items():
        settings = dict(axis)
        kind = settings.pop("type", None)
        if kind not in kinds:
            msg = f"axis {name!r} must be one of {list(kinds)}, but got type={kind!r}."
            raise SearchSpaceError(msg)
        axes[name] = kinds[kind](**settings)
    search = None if values["search"] is None else Search(**values["search"])
    claims = tuple(Claim(**claim) for claim in values.get("claims", ()))
    return SearchSpace(**{**values, "axes": axes, "search": search, "claims": claims})


def _grid_values(name: str, axis: Axis) -> list[Scalar]:
    values: list[Scalar] = list(axis.values())
    if axis.control is not None and name != "rlp_lambda" and axis.control not in values:
        values.insert(0, axis.control)
    return values


def _check_kinds(space: SearchSpace) -> None:
    """Refuse values of another kind than the fields are declared with."""
    kinds: dict[str, tuple[type, str]] = {
        "axes": (Mapping, 'a dict of axes by name, as in {"lr": ChoiceAxis(choices=(0.1,))}'),
        "fixed": (Mapping, 'a dict of settings by name, as in {"num_epochs": 30}'),
        "search": (Search | None, "a Search of rlp_sweeps.spaces, as in Search(num_points=60)"),  # type: ignore[dict-item]  # a union
        "claim": (str, "a sentence"),
        "source": (str, "a text"),
        "data_dir": (str, "a folder as a text"),
    }
    for name, (kind, words) in kinds.items():
        value = getattr(space, name)
        if not isinstance(value, kind):
            msg = f"`{name}` of a search space must be {words}, but got {name}={value!r}."
            raise SearchSpaceError(msg)


def _check_design(space: SearchSpace) -> None:
    if type(space.num_seeds) is not int or space.num_seeds < 1:
        msg = f"`1 <= num_seeds` must hold, but got num_seeds={space.num_seeds!r}."
        raise SearchSpaceError(msg)
    if type(space.first_seed) is not int or space.first_seed < 0:
        msg = f"`0 <= first_seed` must hold, but got first_seed={space.first_seed!r}."
        raise SearchSpaceError(msg)
    if not space.axes:
        msg = "a search space must have at least one axis, but got axes={}; one value will do."
        raise SearchSpaceError(msg)
    both = sorted(set(space.axes) & set(space.fixed))
    if both:
        msg = f"a setting either varies or is fixed, but {both} stand(s) in `axes` and in `fixed`."
        raise SearchSpaceError(msg)
    taken = sorted({"arm", "seed"} & (set(space.axes) | set(space.fixed)))
    if taken:
        msg = f"{taken} must not stand in `axes` or `fixed`; use `arms` and `num_seeds`."
        raise SearchSpaceError(msg)


def _check_arms(space: SearchSpace) -> None:
    for arm in space.arms:
        if (matched_to := get_arm(arm).matched_to) is not None:
            msg = (
                f"the arms of a space must be known before it is trained, but {arm!r} needs the "
                f"multiplier measured in {matched_to!r}; `rlp-sweeps follow-up DIR` adds it."
            )
            raise SearchSpaceError(msg)
    if len(set(space.arms)) < len(space.arms):
        msg = f"no two arms of a space may be alike, but got arms={space.arms!r}."
        raise SearchSpaceError(msg)
    if space.search is None:
        if "control" not in space.arms:
            msg = (
                "`'control' in arms` must hold, because every effect is measured against it, "
                f"but got arms={space.arms!r}."
            )
            raise SearchSpaceError(msg)
        return
    if len({get_arm(arm).projection != "none" for arm in space.arms}) > 1:
        msg = (
            "a sampled point trains all its arms as one group, but projection arms need groups of "
            f"their own; search without them, or over them alone: got arms={space.arms!r}."
        )
        raise SearchSpaceError(msg)
    if space.search.objective_arm not in space.arms:
        msg = (
            "`objective_arm` of a search must be one of the space's arms "
            f"{space.arms!r}, but got {space.search.objective_arm!r}."
        )
        raise SearchSpaceError(msg)


def _check_lambda(space: SearchSpace) -> None:
    regularized = [arm for arm in space.arms if arm != "control"]
    if regularized and "rlp_lambda" not in space.axes and "rlp_lambda" not in space.fixed:
        msg = (
            f"the arms {regularized} need a λ; give `rlp_lambda` as an axis with control=0.0, or "
            "in `fixed`."
        )
        raise SearchSpaceError(msg)


def _check_axis(name: str, axis: object, *, is_search: bool) -> None:
    if not isinstance(axis, LogAxis | LinearAxis | ChoiceAxis):
        msg = f"axis {name!r} must be a LogAxis, LinearAxis or ChoiceAxis, but got {axis!r}."
        raise SearchSpaceError(msg)
    for value in _grid_values(name, axis):
        check_value(name, value)
    if name == "rlp_lambda":
        if axis.control != 0:
            msg = (
                "the axis `rlp_lambda` must state the control arm's value apart from the range, "
                f"`control=0.0`, but got control={axis.control!r}."
            )
            raise SearchSpaceError(msg)
        if 0 in axis.values():
            msg = (
                "`rlp_lambda > 0` must hold on the axis, but got "
                f"{list(axis.values())}; leave 0 out, the control arm is the trial at 0."
            )
            raise SearchSpaceError(msg)
    elif is_search and axis.control is not None and not isinstance(axis, ChoiceAxis):
        msg = (
            f"axis {name!r} of a search cannot hold a control value beside a range; use a "
            f"LinearAxis that includes it or a ChoiceAxis, but got control={axis.control!r}."
        )
        raise SearchSpaceError(msg)
