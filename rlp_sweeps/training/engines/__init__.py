"""Engines: ways to train the members of a group on one device."""

from rlp_sweeps.errors import ConfigError
from rlp_sweeps.training.engines.base import EVALUATED_LOSSES, Engine, EpochOutcome
from rlp_sweeps.training.engines.graph import GraphEngine, GroupedGraphEngine
from rlp_sweeps.training.engines.sequential import SequentialEngine
from rlp_sweeps.training.engines.stacked import GroupedEngine, VmapEngine

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine
    for engine in (
        SequentialEngine,
        GroupedEngine,
        GroupedGraphEngine,
        GraphEngine,
        VmapEngine,
    )
}
"""By name, in the order in which they are probed."""


def get_engine(name: str) -> type[Engine]:
    """Return the engine of that name.

    Raises:
        ConfigError: No such engine.
    """
    if name not in ENGINES:
        msg = f"unknown engine {name!r}; the engines are {list(ENGINES)}."
        raise ConfigError(msg)
    return ENGINES[name]


__all__ = [
    "ENGINES",
    "EVALUATED_LOSSES",
    "Engine",
    "EpochOutcome",
    "GraphEngine",
    "GroupedEngine",
    "GroupedGraphEngine",
    "SequentialEngine",
    "VmapEngine",
    "get_engine",
]
