"""From a search space to groups of trials, with everything checked before anything starts."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Self

from rlp_sweeps.config import SCALARS, TrialConfig
from rlp_sweeps.errors import ConfigError, DeviceError, RunDirectoryError
from rlp_sweeps.spaces import SearchSpace, space_from_dict

DEVICES = ("auto", "cpu", "cuda")

_AUTO_GROUP_SIZES = {"sequential": 1}
"""Members of a group by engine: training one after the other gains nothing from company."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What Ray schedules at a time: trials that share everything but scalars.

    Attributes:
        group_id: Hash of the members' ids as planned, kept while members finish.
        trials: Members that are to be trained.
        point: Number of the sampled point in a search; None in a grid.
    """

    group_id: str
    trials: tuple[TrialConfig, ...]
    point: int | None = None

    @classmethod
    def of(cls, trials: Iterable[TrialConfig], *, point: int | None = None) -> Self:
        """Return the group of these trials, named after them."""
        members = tuple(trials)
        group_id = _digest(sorted(trial.trial_id for trial in members))
        return cls(group_id=group_id, trials=members, point=point)

    def without(self, finished: Collection[str]) -> Self:
        """Return the group under its own name with the members that are not finished."""
        left = tuple(trial for trial in self.trials if trial.trial_id not in finished)
        return replace(self, trials=left)

    def to_text(self) -> str:
        """Return the group as one line of JSON; `from_text` reads it."""
        trials = [trial.to_dict() for trial in self.trials]
        return json.dumps({"group_id": self.group_id, "point": self.point, "trials": trials})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the group that `to_text` wrote."""
        values = json.loads(text)
        trials = tuple(map(TrialConfig.from_dict, values["trials"]))
        return cls(group_id=values["group_id"], trials=trials, point=values["point"])


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """What a sweep trains, before anything has started.

    Attributes:
        name: The recipe's name.
        space: The resolved search space.
        trials: Every trial of a grid once, whole replicates first; empty in a search, whose points
            are sampled while it runs.
        groups: The trials in groups, in the order they start.
        plan_id: Hash of what is trained: the same plan in one directory is the same sweep.
        group_size: Most trials in a group of a grid.
        engine: How a group is trained.
        device: ``cpu`` or ``cuda``.
        data_dir: Absolute folder that data sets are read from.
    """

    name: str
    space: SearchSpace
    trials: tuple[TrialConfig, ...]
    groups: tuple[Group, ...]
    plan_id: str
    group_size: int
    engine: str
    device: str
    data_dir: str

    @property
    def is_search(self) -> bool:
        """Whether Optuna samples the points."""
        return self.space.search is not None

    @property
    def num_points(self) -> int | None:
        """Points of a search; None for a grid."""
        return None if self.space.search is None else self.space.search.num_points

    @property
    def num_trials(self) -> int:
        """Trials of the grid; in a search the most that there can be."""
        return sum(self.trials_by_arm.values())

    @property
    def num_groups(self) -> int:
        """Groups of the grid, or points of the search."""
        return len(self.groups) if self.num_points is None else self.num_points

    @property
    def trials_by_arm(self) -> dict[str, int]:
        """Number of trials in each arm, in the space's order; an upper bound in a search."""
        if self.num_points is not None:
            return {arm: self.num_points * self.space.num_seeds for arm in self.space.arms}
        counts = Counter(trial.arm for trial in self.trials)
        return {arm: counts[arm] for arm in self.space.arms}

    def settings(self) -> dict[str, Any]:
        """Return how the sweep is carried out, for the manifest; `plan_from_manifest` reads it."""
        return {
            "group_size": self.group_size,
            "engine": self.engine,
            "device": self.device,
            "data_dir": self.data_dir,
        }


def plan_sweep(
    space: SearchSpace,
    *,
    name: str,
    group_size: int | None = None,
    device: str = "auto",
    engine: str = "sequential",
    checks_data: bool = True,
) -> SweepPlan:
    """Return the plan of a sweep; nothing is started or written.

    Args:
        space: What varies, with all replacements made.
        name: The recipe's name.
        group_size: Most trials in a group; None chooses for the engine.
        device: One of `DEVICES`.
        engine: One of ``training.engines.ENGINES``.
        checks_data: Refuse a plan whose data, backbone or augmentation cannot be had here; without
            it the plan can be looked at, not run.

    Raises:
        ConfigError: A setting, the augmentation, the engine or the group size is not valid.
        DatasetError: The data set is unknown, its files are absent, or it is too small.
        BackboneError: The backbone is unknown, or cannot read these images.
        DeviceError: The device is unknown, or torch does not see it.
    """
    plan = _build_plan(
        space,
        name=name,
        settings={
            "group_size": _checked_group_size(group_size, engine),
            "engine": engine,
            "device": resolve_device(device),
            "data_dir": str(Path(space.data_dir).expanduser().absolute()),
        },
    )
    if checks_data:
        check_plan(plan)
    return plan


def plan_from_manifest(manifest: Mapping[str, Any]) -> SweepPlan:
    """Return the plan of a sweep that was started before, from what its manifest holds.

    Raises:
        RunDirectoryError: The manifest was not written for a sweep of this package.
    """
    try:
        space = space_from_dict(manifest["space"])
        name, settings = str(manifest["sweep_name"]), manifest["settings"]
        plan = _build_plan(space, name=name, settings=settings)
    except (KeyError, TypeError) as error:
        msg = f"a manifest must hold the sweep's space and settings, but lacks {error}."
        raise RunDirectoryError(msg) from error
    if plan.plan_id != manifest["plan_id"]:
        msg = (
            f"the manifest's space must plan what was planned, but gives {plan.plan_id!r} instead "
            f"of {manifest['plan_id']!r}; resume it with the version that wrote it: "
            f"{manifest.get('code_version')!r}."
        )
        raise RunDirectoryError(msg)
    return plan


def remaining_groups(plan: SweepPlan, finished: Collection[str]) -> list[Group]:
    """Return the groups of a grid that still have trials to train, with those trials alone.

    A group keeps its name, so that it finds its checkpoint; which members are left never changes a
    number.
    """
    left = (group.without(finished) for group in plan.groups)
    return [group for group in left if group.trials]


def point_group(space: SearchSpace, params: Mapping[str, Any], *, point: int) -> Group:
    """Return the group of one sampled point: every arm over all seeds.

    Raises:
        ConfigError: The point is no valid setting.
    """
    return Group.of(map(TrialConfig.from_dict, space.trials_of(params)), point=point)


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda``.

    Args:
        device: One of `DEVICES`; ``auto`` takes a GPU where torch sees one.

    Raises:
        DeviceError: The name is none of these, or torch sees no GPU.
    """
    if device not in DEVICES:
        msg = f"`device in {DEVICES}` must hold, but got device={device!r}."
        raise DeviceError(msg)
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    from rlp_sweeps.training.loop import resolve_device as check_device

    check_device(device)
    return device


def check_plan(plan: SweepPlan) -> None:
    """Refuse a plan whose data, backbones or augmentation cannot be had.

    Raises:
        ConfigError: The engine or an augmentation is unknown, or a combination of values is bad.
        DatasetError: A data set is unknown, its files are absent, or it is too small.
        BackboneError: A backbone is unknown, or cannot read its images.
    """
    from rlp_sweeps.training.engines import get_engine

    get_engine(plan.engine)
    for config in group_representatives(plan):
        _check_config(config, plan.data_dir)


def group_representatives(plan: SweepPlan) -> list[TrialConfig]:
    """Return one trial for each combination of the settings that a group shares.

    In a search, ranges stand for themselves by the values that a grid of them would hold.
    """
    trials: Iterable[TrialConfig] = plan.trials
    if plan.is_search:
        trials = _search_representatives(plan.space)
    first: dict[tuple[Any, ...], TrialConfig] = {}
    for trial in trials:
        key = tuple(value for name, value in trial.to_dict().items() if name not in SCALARS)
        first.setdefault(key, trial)
    return list(first.values())


def _search_representatives(space: SearchSpace) -> list[TrialConfig]:
    base = next(space.points())
    shared = {name: axis.values() for name, axis in space.axes.items() if name not in SCALARS}
    points = ({**base, **dict(zip(shared, v, strict=True))} for v in product(*shared.values()))
    return [TrialConfig.from_dict(space.trials_of(point)[0]) for point in points]


def _check_config(config: TrialConfig, data_dir: str) -> None:
    from rlp_sweeps.training.augmentation import build_augmentation
    from rlp_sweeps.training.backbones import check_backbone, get_builder
    from rlp_sweeps.training.datasets import check_split, describe_dataset

    build_augmentation(config.augmentation)
    info = describe_dataset(config.dataset, data_dir=data_dir)
    if info is None:
        get_builder(config.backbone)
        return
    check_split(config, info)
    check_backbone(config, image_shape=info.image_shape, num_classes=info.num_classes)


def _build_plan(space: SearchSpace, *, name: str, settings: Mapping[str, Any]) -> SweepPlan:
    trials: tuple[TrialConfig, ...] = ()
    if space.search is None:
        trials = tuple(map(TrialConfig.from_dict, space.grid()))
    group_size = int(settings["group_size"])
    return SweepPlan(
        name=name,
        space=space,
        trials=trials,
        groups=tuple(_grouped(trials, group_size)),
        plan_id=_plan_id(space, trials),
        group_size=group_size,
        engine=str(settings["engine"]),
        device=str(settings["device"]),
        data_dir=str(settings["data_dir"]),
    )


def _grouped(trials: Sequence[TrialConfig], group_size: int) -> list[Group]:
    if group_size == 1:
        return [Group.of((trial,)) for trial in trials]
    by_key: dict[str, list[TrialConfig]] = {}
    for trial in trials:
        by_key.setdefault(trial.group_key, []).append(trial)
    return [
        Group.of(members[start : start + group_size])
        for members in by_key.values()
        for start in range(0, len(members), group_size)
    ]


def _plan_id(space: SearchSpace, trials: Sequence[TrialConfig]) -> str:
    if space.search is None:
        return _digest([trial.trial_id for trial in trials])
    described = space.to_dict()
    what = {k: described[k] for k in ("axes", "arms", "fixed", "num_seeds", "first_seed")}
    return _digest({**what, "search": asdict(space.search)})


def _checked_group_size(group_size: int | None, engine: str) -> int:
    if group_size is None:
        return _AUTO_GROUP_SIZES.get(engine, 1)
    if group_size < 1:
        msg = f"`1 <= group_size` must hold, but got group_size={group_size!r}."
        raise ConfigError(msg)
    return group_size


def _digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
