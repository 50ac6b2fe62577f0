"""What is known of the engines for a kind of trial: a stored calibration, or probes on a GPU."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, ConfigError, DatasetError
from rlp_sweeps.orchestration.calibration import Calibration, stored_calibration
from rlp_sweeps.orchestration.engine_choice import (
    AUTO,
    SEQUENTIAL,
    EngineRequest,
    Evidence,
    Kind,
)
from rlp_sweeps.user_errors import place_of, words_of

if TYPE_CHECKING:
    from rlp_sweeps.training.engines.probing import EngineProbe, Prober
    from rlp_sweeps.training.image_arrays import DatasetInfo

PROBE_BUDGET_S = 8.0
"""Seconds after the probe of a single trial; later no further engine or group size is probed."""

_PROBED_SIZES = (4, 16, 64)
_WORTH_MORE = 1.03
"""A larger group is probed only after one that gained this much over the one before."""


def dataset_info(dataset: str, *, data_dir: str) -> "DatasetInfo":
    """Return the shapes of a data set; a user's own is read for them.

    Raises:
        DatasetError: It is unknown, its files are absent, or a user's loader raises.
    """
    from rlp_sweeps.training.datasets import ImageArrays, describe_dataset, load_image_arrays

    info = describe_dataset(dataset, data_dir=data_dir)
    if info is not None:
        return info
    try:
        return load_image_arrays(dataset, data_dir=data_dir).info
    except DatasetError:
        raise
    except (Exception, SystemExit) as error:
        msg = (
            f"the loader {dataset!r} must return images when it is called with the data folder, "
            f"but {place_of(error, dataset)} raised {words_of(error, {'ImageArrays': ImageArrays})}"
        )
        raise DatasetError(msg) from error


def evidence_from_calibration(
    config: TrialConfig, info: "DatasetInfo", *, calibration: Calibration | None = None
) -> Evidence:
    """Return what the stored calibration says of a trial's engines; nothing is timed.

    Args:
        config: One trial of the kind.
        info: Shape of its images, number of classes.
        calibration: Another table than the stored one.

    Raises:
        BackboneError: The backbone cannot be built for these images.
    """
    from rlp_sweeps.training.engines import ENGINES
    from rlp_sweeps.training.engines.traits import engine_refusal, net_traits

    table = stored_calibration() if calibration is None else calibration
    speed_ups = table.speed_ups(net_traits(config, info))
    if config.copy_depth > 1:  # the table knows nothing of heads that run vectorized
        speed_ups = {}
    return Evidence(
        speed_ups={engine: sizes for engine, sizes in speed_ups.items() if engine in ENGINES},
        source="expected from the stored calibration",
        refusal=lambda engine: engine_refusal(config, info, engine=engine),
    )


def evidence_from_probes(
    kind: Kind, request: EngineRequest, *, prober: "Prober", budget_s: float = PROBE_BUDGET_S
) -> Evidence:
    """Return what short trainings on the real shapes say of a kind's engines.

    Args:
        kind: The trials.
        request: Limits engine and group size.
        prober: Times on the device.
        budget_s: Seconds after the probe of a single trial, which nothing further is probed after.

    Raises:
        BackboneError: A single trial cannot train: it does not fit into memory.
        ConfigError: A single trial raises.
        DatasetError: The data cannot be read.
    """
    probes = _Probes(kind, request, prober)
    probes.run(budget_s)
    return Evidence(
        speed_ups=probes.speed_ups,
        source=f"measured on {prober.device.type}",
        refusal=lambda engine: None if engine in probes.speed_ups else probes.reasons.get(engine),
        probes=tuple(probes.done),
    )


class _Probes:
    """Probes of one kind of trial, from small groups to large ones, as long as they gain.

    Attributes:
        done: All of them, the sequential one first.
        speed_ups: Speed-up over sequential by engine and group size.
        reasons: Why an engine cannot train even its smallest group.
    """

    def __init__(self, kind: Kind, request: EngineRequest, prober: "Prober") -> None:
        from rlp_sweeps.training.engines.probing import memory_limit, split_sizes

        self.done: list[EngineProbe] = []
        self.speed_ups: dict[str, dict[int, float]] = {}
        self.reasons: dict[str, str] = {}
        self._kind = kind
        self._request = request
        self._prober = prober
        self._deadline_s = math.inf
        self._sizes = split_sizes(kind.config, data_dir=prober.data_dir)
        self._limit = memory_limit(prober.device, share=request.room.gpu_share)

    def run(self, budget_s: float) -> None:
        """Probe a single trial, then every engine that may be chosen, as long as time is left."""
        from rlp_sweeps.training.engines import ENGINES

        alone = self._probe(SEQUENTIAL, 1)
        if alone.reason is not None:
            msg = (
                f"a trial of backbone {self._kind.config.backbone!r} must train on "
                f"{self._prober.device.type!r}, but cannot: {alone.reason}; choose a smaller "
                "batch_size or backbone."
            )
            raise BackboneError(msg)
        self._deadline_s = self._prober.clock() + budget_s
        asked = ENGINES if self._request.engine == AUTO else (self._request.engine,)
        for engine in asked:
            if engine != SEQUENTIAL:
                self._climb(engine, alone.trial_s(self._kind.config, self._sizes))

    def _climb(self, engine: str, alone_s: float) -> None:
        best = 1.0
        for size in self._group_sizes():
            if self.done[1:] and self._prober.clock() > self._deadline_s:
                return
            probe = self._probe_group(engine, size)
            if probe.reason is not None:
                self.reasons[engine] = probe.reason
                return
            speed_up = alone_s / probe.trial_s(self._kind.config, self._sizes)
            self.speed_ups.setdefault(engine, {})[size] = speed_up
            if speed_up < best * _WORTH_MORE:
                return
            best = speed_up

    def _probe_group(self, engine: str, size: int) -> "EngineProbe":
        """Return the probe of a group; what it raises is the engine's: the trial trains alone."""
        from rlp_sweeps.training.engines.probing import EngineProbe

        try:
            return self._probe(engine, size)
        except ConfigError as error:
            self.done.append(EngineProbe(engine=engine, group_size=size, reason=str(error)))
            return self.done[-1]

    def _group_sizes(self) -> list[int]:
        if self._request.group_size is not None:
            return [self._request.group_size]
        most = self._kind.largest_group(self._request.slots)
        below = [size for size in _PROBED_SIZES if size < most]
        return [*below, most] if 2 <= most <= _PROBED_SIZES[-1] else below

    def _probe(self, engine: str, size: int) -> "EngineProbe":
        probe = self._prober.probe(self._kind.config, engine=engine, group_size=size)
        if self._limit is not None and probe.peak_memory_bytes is not None:
            needed = probe.peak_memory_bytes + self._data_bytes(size)
            if needed > self._limit:
                probe = replace(
                    probe, reason=f"out of memory: {needed:,} of {self._limit:,} bytes needed"
                )
        self.done.append(probe)
        return probe

    def _data_bytes(self, size: int) -> int:
        """Return the bytes of the images that a group of this size holds, one copy a seed."""
        info = dataset_info(self._kind.config.dataset, data_dir=self._prober.data_dir)
        num_seeds = math.ceil(size / max(self._kind.blocks))
        return num_seeds * sum(self._sizes) * math.prod(info.image_shape)
