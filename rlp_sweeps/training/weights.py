"""Trained weights: a trial's network as it was at its end.

A file holds tensors and plain values only, is read with ``weights_only=True``, and needs no data
set: it says which images the network reads.
"""

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError, ConfigError
from rlp_sweeps.training.checkpoint import load_checkpoint, save_checkpoint
from rlp_sweeps.training.datasets import NetworkInputs, SplitDataset, network_inputs
from rlp_sweeps.training.network import RLPNetwork

_WAY_OUT = "remove it, and train the trial again to have it probed"
_INPUTS = tuple(field.name for field in fields(NetworkInputs))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedWeights:
    """A trial's network at its end.

    Attributes:
        config: The trial's.
        epoch: Epochs completed.
        network: As `RLPNetwork.state_dict` has it.
        inputs: What it reads, on the CPU; None in files of a version that did not write it.
    """

    config: TrialConfig
    epoch: int
    network: dict[str, Tensor]
    inputs: NetworkInputs | None = None


def weights_path(folder: Path, trial_id: str) -> Path:
    """Return the file of a trial's weights."""
    return folder / f"{trial_id}.pt"


def save_weights(folder: Path, weights: TrainedWeights) -> None:
    """Write a trial's weights; a reader sees the whole file or none.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    save_checkpoint(weights_path(folder, weights.config.trial_id), _state_of(weights))


def _state_of(weights: TrainedWeights) -> dict[str, Any]:
    state: dict[str, Any] = {
        "config": weights.config.to_dict(),
        "epoch": weights.epoch,
        "network": {n: tensor.detach().cpu().clone() for n, tensor in weights.network.items()},
    }
    if weights.inputs is not None:
        state["inputs"] = {name: getattr(weights.inputs, name) for name in _INPUTS}
    return state


def bytes_of_weights(config: TrialConfig, *, data_dir: str) -> int:
    """Return how large the file of a trial's weights is, in bytes, within a few hundred.

    Raises:
        DatasetError, BackboneError: The data or the backbone cannot be had.
    """
    inputs = network_inputs(config.dataset, data_dir=data_dir)
    network = RLPNetwork(config, inputs, torch.device("cpu")).state_dict()
    weights = TrainedWeights(config=config, epoch=0, network=network, inputs=inputs)
    file = _Counted()
    torch.save(_state_of(weights), file)
    return file.num_bytes


class _Counted(io.BytesIO):
    """A file that counts what is written to it and keeps none of it."""

    num_bytes = 0

    def write(self, content: Any, /) -> int:
        size = memoryview(content).nbytes
        self.num_bytes += size
        return size


def load_weights(path: Path, device: torch.device) -> TrainedWeights:
    """Return what `save_weights` wrote, with its tensors on `device`.

    Raises:
        CheckpointError: The file is truncated, or holds something else.
    """
    state: Any = load_checkpoint(path, device, way_out=_WAY_OUT)
    try:
        config = TrialConfig.from_dict(state["config"])
        weights = TrainedWeights(
            config=config,
            epoch=state["epoch"],
            network=state["network"],
            inputs=NetworkInputs(**state["inputs"]) if "inputs" in state else None,
        )
    except (KeyError, TypeError, ConfigError) as error:
        msg = f"{path} must hold a trial's weights, but {error}; {_WAY_OUT}."
        raise CheckpointError(msg) from error
    if path.stem != config.trial_id:
        msg = f"{path} must hold the weights of its trial, but has {config.trial_id}; {_WAY_OUT}."
        raise CheckpointError(msg)
    return weights


def restore_network(
    weights: TrainedWeights, data: SplitDataset | NetworkInputs, device: torch.device
) -> RLPNetwork:
    """Return the network that was trained, in train mode.

    Args:
        weights: From `load_weights`.
        data: The trial's splits, or no more than what the network reads.
        device: Its device.

    Raises:
        CheckpointError: The weights are those of another architecture.
    """
    network = RLPNetwork(weights.config, data, device)
    try:
        network.load_state_dict(weights.network)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        msg = (
            f"the weights of trial {weights.config.trial_id} must fit into its network, but "
            f"{reason[:300]}; read them with the version that wrote them."
        )
        raise CheckpointError(msg) from error
    return network
