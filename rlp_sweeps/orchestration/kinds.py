"""Kinds of trial: those that share all settings but scalars, and therefore may form a group."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from rlp_sweeps.config import SCALARS, TrialConfig
from rlp_sweeps.errors import BackboneError, DatasetError
from rlp_sweeps.orchestration.engine_choice import (
    SEQUENTIAL,
    EngineChoice,
    EngineRequest,
    Evidence,
    Kind,
    check_engine_name,
    choose_engine,
)
from rlp_sweeps.orchestration.grouping import shared_settings
from rlp_sweeps.spaces import SearchSpace

_LEAST_ROUNDS = 4
"""Times that a search's sampler learns from points before it asks for the last ones."""


def representatives(space: SearchSpace, trials: Iterable[TrialConfig]) -> list[TrialConfig]:
    """Return one trial of each kind.

    In a search, ranges stand for themselves by the values that a grid of them would hold.

    Args:
        space: The sweep's.
        trials: All trials of a grid; none in a search.
    """
    first: dict[object, TrialConfig] = {}
    for trial in trials if space.search is None else _search_representatives(space):
        first.setdefault(shared_settings(trial), trial)
    return list(first.values())


def _search_representatives(space: SearchSpace) -> list[TrialConfig]:
    base = next(space.points())
    shared = {name: axis.values() for name, axis in space.axes.items() if name not in SCALARS}
    points = ({**base, **dict(zip(shared, v, strict=True))} for v in product(*shared.values()))
    return [TrialConfig.from_dict(space.trials_of(point)[0]) for point in points]


def kinds_of(space: SearchSpace, trials: Sequence[TrialConfig], *, slots: int) -> dict[str, Kind]:
    """Return the kinds of a sweep by `group_key`, in the order of their first trials.

    Args:
        space: The sweep's.
        trials: All trials of a grid; none in a search.
        slots: Groups trained at once.
    """
    configs = representatives(space, trials)
    if space.search is not None:
        return {c.group_key: _search_kind(space, c, len(configs), slots) for c in configs}
    counts: dict[object, Counter[int]] = {}
    for trial in trials:
        counts.setdefault(shared_settings(trial), Counter())[trial.seed] += 1
    return {
        config.group_key: Kind(
            config=config, blocks=tuple(counts[shared_settings(config)].values())
        )
        for config in configs
    }


def _search_kind(space: SearchSpace, config: TrialConfig, num_kinds: int, slots: int) -> Kind:
    """Return a kind of a search, its points taken to be as many as those of every other kind."""
    search = space.search
    assert search is not None
    per_point = len(space.arms) * space.num_seeds
    num_points = -(-search.num_points // num_kinds)
    most, least = num_points, 1
    if search.sampler != "random":
        most = max(1, search.num_points // (_LEAST_ROUNDS * slots))
    if search.early_stopping and per_point > 1:
        least = min(num_points, search.reduction_factor**2)  # compared at two rungs
    return Kind(
        config=config,
        blocks=(per_point,) * num_points,
        is_divisible=False,
        min_group_size=least * per_point,
        max_group_size=max(most, least) * per_point,
    )


def choose_engines(
    kinds: Mapping[str, Kind], request: EngineRequest, *, device: str, data_dir: str
) -> dict[str, EngineChoice]:
    """Return how each kind is trained, by `group_key`.

    Raises:
        ConfigError: The engine is unknown, or a trial raises in a probe.
        BackboneError: The engine that was asked for cannot train a kind.
        DatasetError: The shapes of the data cannot be had.
    """
    check_engine_name(request.engine)
    return {
        key: choose_engine(kind, request, _evidence(kind, request, device, data_dir))
        for key, kind in kinds.items()
    }


def choose_without_data(
    kinds: Mapping[str, Kind], request: EngineRequest
) -> dict[str, EngineChoice]:
    """Return what is known where the data are absent: what was asked for.

    Raises:
        ConfigError: The engine is unknown.
    """
    check_engine_name(request.engine)
    evidence = Evidence(speed_ups={}, source="while the data are absent", refusal=lambda _: None)
    return {key: choose_engine(kind, request, evidence) for key, kind in kinds.items()}


def _evidence(kind: Kind, request: EngineRequest, device: str, data_dir: str) -> Evidence:
    if request.engine == SEQUENTIAL:
        return Evidence(speed_ups={}, source="", refusal=lambda _: None)
    from rlp_sweeps.orchestration import evidence

    if device == "cpu":
        info = evidence.dataset_info(kind.config.dataset, data_dir=data_dir)
        return evidence.evidence_from_calibration(kind.config, info)
    import torch

    from rlp_sweeps.training.engines.probing import Prober

    prober = Prober(data_dir=data_dir, device=torch.device(device))
    return evidence.evidence_from_probes(kind, request, prober=prober)


def check_engine(config: TrialConfig, engine: str, *, device: str, data_dir: str) -> None:
    """Refuse a chosen engine that cannot train a kind of trial on a CPU.

    On a GPU the group's first epoch tells.

    Raises:
        ConfigError: No such engine.
        BackboneError: It cannot.
        DatasetError: The shapes of the data cannot be had.
    """
    check_engine_name(engine)
    if engine == SEQUENTIAL or device != "cpu":
        return
    from rlp_sweeps.orchestration.evidence import dataset_info
    from rlp_sweeps.training.engines.traits import engine_refusal

    info = dataset_info(config.dataset, data_dir=data_dir)
    reason = engine_refusal(config, info, engine=engine)
    if reason is not None:
        raise BackboneError(reason)


def check_config(config: TrialConfig, data_dir: str, *, arms: Sequence[str]) -> None:
    """Refuse a kind of trial whose data, backbone or augmentation cannot be had.

    Args:
        config: One trial of the kind.
        data_dir: Folder that data sets are read from.
        arms: Arms that the sweep trains.

    Raises:
        ConfigError: The augmentation is unknown.
        DatasetError: The data set is unknown, its files are absent, or it is too small.
        BackboneError: The backbone is unknown, cannot read these images, or has not the places
            where heads shall read.
    """
    from rlp_sweeps.orchestration.evidence import dataset_info
    from rlp_sweeps.training.augmentation import build_augmentation
    from rlp_sweeps.training.backbones import check_backbone
    from rlp_sweeps.training.datasets import check_split, check_thinned
    from rlp_sweeps.training.dotted_paths import is_in_main
    from rlp_sweeps.training.places import check_places

    for name, error in ((config.dataset, DatasetError), (config.backbone, BackboneError)):
        if is_in_main(name):
            raise error(_not_importable(name))
    build_augmentation(config.augmentation)
    info = dataset_info(config.dataset, data_dir=data_dir)
    check_split(config, info)
    check_thinned(config, data_dir=data_dir)
    check_backbone(config, image_shape=info.image_shape, num_classes=info.num_classes)
    check_places(config, arms=arms, image_shape=info.image_shape, num_classes=info.num_classes)


def _not_importable(name: str) -> str:
    function = name.replace(":", ".").rpartition(".")[2]
    return (
        "code of one's own must stand in a module that the processes that train can import, but "
        f"{name!r} is defined in a notebook or script; write it to a file in the working "
        f"directory, for example my_code.py, and name it 'my_code.{function}'."
    )
