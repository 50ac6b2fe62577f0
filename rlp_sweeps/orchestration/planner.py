"""From a search space to groups of trials, with everything checked before anything starts."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import DeviceError, RlpSweepsError, RunDirectoryError
from rlp_sweeps.orchestration.engine_choice import AUTO, EngineChoice, EngineRequest, Room
from rlp_sweeps.orchestration.extension import current_space
from rlp_sweeps.orchestration.grouping import Group, chunked, digest, grouped, shared_settings
from rlp_sweeps.orchestration.kinds import (
    check_config,
    check_engine,
    choose_engines,
    choose_without_data,
    kinds_of,
    representatives,
)
from rlp_sweeps.spaces import SearchSpace, space_from_dict
from rlp_sweeps.tracking.manifest import followed_up

__all__ = [
    "DEVICES",
    "Group",
    "SweepPlan",
    "check_plan",
    "group_representatives",
    "plan_from_manifest",
    "plan_sweep",
    "point_group",
    "remaining_groups",
    "resolve_device",
    "with_trials",
]

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """What a sweep trains, before anything has started.

    Attributes:
        name: The recipe's name.
        space: The resolved search space.
        trials: Every trial of a grid once, whole replicates first, those of follow-ups last. A
            search's points are sampled while it runs, so that of a search only the latter.
        groups: The trials in groups, in the order they start.
        plan_id: Hash of what is trained: the same plan in one directory is the same sweep.
        group_size: Most trials in a group.
        engine: How most kinds of trial are trained.
        device: ``cpu`` or ``cuda``.
        data_dir: Absolute folder that data sets are read from.
        choices: How each kind of trial is trained, by `group_key`; empty in a sweep that was
            planned with one engine and group size for all.
        slots: Groups at once that the groups were balanced for; None where they were not.
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
    choices: Mapping[str, EngineChoice] = field(default_factory=dict)
    slots: int | None = None

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
        """Groups of the grid; of a search as many as its points fill."""
        num_groups = len(self.groups)
        if self.num_points is not None:
            points_per_group = max(1, self.group_size // self.trials_per_point)
            num_groups += -(-self.num_points // points_per_group)
        return num_groups

    @property
    def trials_by_arm(self) -> dict[str, int]:
        """Number of trials in each arm, in the space's order; an upper bound in a search."""
        counts = Counter(trial.arm for trial in self.trials)
        if self.num_points is not None:
            counts.update(dict.fromkeys(self.space.arms, self.num_points * self.space.num_seeds))
        return {arm: counts[arm] for arm in dict.fromkeys((*self.space.arms, *counts))}

    def engine_of(self, trial: TrialConfig) -> str:
        """Return the engine that trains a trial.

        A kind that was not planned, as of a search over a continuous axis, takes the plan's own.
        """
        choice = self.choices.get(trial.group_key)
        return self.engine if choice is None else choice.engine

    def group_size_of(self, trial: TrialConfig) -> int:
        """Return the most trials in a group of this trial's kind; see `engine_of`."""
        choice = self.choices.get(trial.group_key)
        return self.group_size if choice is None else choice.group_size

    @property
    def trials_by_choice(self) -> dict[EngineChoice, int]:
        """Number of trials for each way of training; an upper bound in a search."""
        numbers: Counter[EngineChoice] = Counter()
        if self.is_search:
            numbers.update(dict.fromkeys(self.choices.values(), self.num_trials))
            return numbers
        kinds = Counter(shared_settings(trial) for trial in self.trials)
        for config in group_representatives(self):
            if config.group_key in self.choices:
                numbers[self.choices[config.group_key]] += kinds[shared_settings(config)]
        return numbers

    @property
    def trials_per_point(self) -> int:
        """Trials of one point of the space: every arm over all seeds."""
        return len(self.space.arms) * self.space.num_seeds

    def settings(self) -> dict[str, Any]:
        """Return how the sweep is carried out, for the manifest; `plan_from_manifest` reads it."""
        return {
            "group_size": self.group_size,
            "engine": self.engine,
            "device": self.device,
            "data_dir": self.data_dir,
            "slots": self.slots,
            "choices": {key: choice.to_dict() for key, choice in self.choices.items()},
        }


def plan_sweep(  # noqa: PLR0913  # each is asked for on the command line
    space: SearchSpace,
    *,
    name: str,
    group_size: int | None = None,
    device: str = "auto",
    engine: str = AUTO,
    room: Room | None = None,
    checks_data: bool = True,
) -> SweepPlan:
    """Return the plan of a sweep; nothing is written, and nothing is started but probes on a GPU.

    Args:
        space: What varies, with all replacements made.
        name: The recipe's name.
        group_size: Most trials in a group; None chooses.
        device: One of `DEVICES`.
        engine: One of ``training.engines.ENGINES``, or ``auto``, which chooses.
        room: How many groups run at once, and on how much of a GPU; None: one on each core of this
            machine, or on each GPU.
        checks_data: Refuse a plan whose data, backbone or augmentation cannot be had here; without
            it the plan can be looked at, not run.

    Raises:
        ConfigError: A setting, the augmentation, the engine or the group size is not valid.
        DatasetError: The data set is unknown, its files are absent, or it is too small.
        BackboneError: The backbone is unknown, cannot read these images, or cannot be trained by
            the engine that was asked for.
        DeviceError: The device is unknown, or torch does not see it.
    """
    device = resolve_device(device)
    room = room or _whole_machine(device)
    request = EngineRequest(engine=engine, group_size=group_size, room=room)
    data_dir = str(Path(space.data_dir).expanduser().absolute())
    trials = _trials_of(space)
    kinds = kinds_of(space, trials, slots=room.slots)
    if checks_data:
        for kind in kinds.values():
            check_config(kind.config, data_dir, arms=space.arms)
        choices = choose_engines(kinds, request, device=device, data_dir=data_dir)
    else:
        choices = choose_without_data(kinds, request)
    settings = {
        "group_size": max(choice.group_size for choice in choices.values()),
        "engine": _most_common_engine(choices.values()),
        "device": device,
        "data_dir": data_dir,
        "slots": room.slots,
    }
    return _build_plan(space, trials, name=name, settings=settings, choices=choices)


def plan_from_manifest(manifest: Mapping[str, Any]) -> SweepPlan:
    """Return the plan of a sweep that was started before, from what its manifest holds.

    Raises:
        RunDirectoryError: The manifest was not written for a sweep of this package.
    """
    try:
        return _read_plan(manifest)
    except RlpSweepsError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        is_lacking = isinstance(error, KeyError)
        reason = f"lacks {error}" if is_lacking else f"holds something else: {error}"
        msg = f"a manifest must hold the sweep's space, settings and trials, but {reason}."
        raise RunDirectoryError(msg) from error


def _read_plan(manifest: Mapping[str, Any]) -> SweepPlan:
    space = space_from_dict(manifest["space"])
    name, settings = str(manifest["sweep_name"]), manifest["settings"]
    choices = {
        key: EngineChoice.from_dict(values) for key, values in settings.get("choices", {}).items()
    }
    plan = _build_plan(space, _trials_of(space), name=name, settings=settings, choices=choices)
    if plan.plan_id != manifest["plan_id"]:
        msg = (
            f"the manifest's space must plan what was planned, but gives {plan.plan_id!r} instead "
            f"of {manifest['plan_id']!r}; resume it with the version that wrote it: "
            f"{manifest.get('code_version')!r}."
        )
        raise RunDirectoryError(msg)
    for trials in followed_up(manifest):
        plan = with_trials(plan, trials)
    if plan.is_search:
        return replace(plan, space=current_space(manifest))
    return plan


def with_trials(plan: SweepPlan, trials: Sequence[TrialConfig]) -> SweepPlan:
    """Return the plan with a follow-up's trials, which form groups of their own.

    The plan keeps its identity: it is the sweep that it was, continued.
    """
    planned = [trial for trial in trials if trial.group_key in plan.choices]
    others = [trial for trial in trials if trial.group_key not in plan.choices]
    groups = [*grouped(planned, plan.choices), *chunked(others, plan.group_size)]
    return replace(plan, trials=(*plan.trials, *trials), groups=(*plan.groups, *groups))


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
        BackboneError: A backbone is unknown, cannot read its images, or cannot be trained by the
            engine on this device.
    """
    for config in group_representatives(plan):
        check_config(config, plan.data_dir, arms=plan.space.arms)
        check_engine(config, plan.engine_of(config), device=plan.device, data_dir=plan.data_dir)


def group_representatives(plan: SweepPlan) -> list[TrialConfig]:
    """Return one trial for each combination of the settings that a group shares.

    In a search, ranges stand for themselves by the values that a grid of them would hold.
    """
    return representatives(plan.space, plan.trials)


def _whole_machine(device: str) -> Room:
    if device == "cpu":
        return Room(slots=os.cpu_count() or 1)
    import torch

    return Room(slots=torch.cuda.device_count())


def _trials_of(space: SearchSpace) -> tuple[TrialConfig, ...]:
    """Return the trials of a grid; none of a search."""
    return () if space.search is not None else tuple(space.grid_configs())


def _build_plan(
    space: SearchSpace,
    trials: tuple[TrialConfig, ...],
    *,
    name: str,
    settings: Mapping[str, Any],
    choices: Mapping[str, EngineChoice],
) -> SweepPlan:
    group_size = int(settings["group_size"])
    groups = grouped(trials, choices) if choices else chunked(trials, group_size)
    return SweepPlan(
        name=name,
        space=space,
        trials=trials,
        groups=tuple(groups),
        plan_id=_plan_id(space, trials),
        group_size=group_size,
        engine=str(settings["engine"]),
        device=str(settings["device"]),
        data_dir=str(settings["data_dir"]),
        choices=choices,
        slots=settings.get("slots"),
    )


def _most_common_engine(choices: Iterable[EngineChoice]) -> str:
    return Counter(choice.engine for choice in choices).most_common(1)[0][0]


def _plan_id(space: SearchSpace, trials: Sequence[TrialConfig]) -> str:
    if space.search is None:
        return digest([trial.trial_id for trial in trials])
    described = space.to_dict()
    what = {k: described[k] for k in ("axes", "arms", "fixed", "num_seeds", "first_seed")}
    return digest({**what, "search": asdict(space.search)})
