"""A trial's trained network as a model: raw images in, class scores out.

MLflow imports this module where ``mlflow.pyfunc.load_model`` is asked for a model of a sweep
(`_load_pyfunc`), so that nothing is unpickled there either.

Shapes: N samples, C H W image, K classes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError
from rlp_sweeps.training.metrics import EVAL_BATCH_SIZE
from rlp_sweeps.training.weights import TrainedWeights, load_weights, restore_network


class TrainedModel(nn.Module):
    """A trial's network at its end, in eval mode.

    Attributes:
        config: The trial's.
        epoch: Epochs completed.
        network: All of it: ``network.backbone``, and the RLP heads in ``network.heads``.
    """

    def __init__(self, weights: TrainedWeights, device: torch.device) -> None:
        """Build the network.

        Args:
            weights: From `load_weights`; with what the network reads.
            device: Its device.

        Raises:
            CheckpointError: The weights do not say what the network reads, or are those of another
                architecture.
            BackboneError: The backbone cannot be imported or built.
        """
        super().__init__()
        if weights.inputs is None:
            msg = (
                f"the weights of trial {weights.config.trial_id} must say which images they read, "
                "but an earlier version has written them without; train the trial again."
            )
            raise CheckpointError(msg)
        self.config: TrialConfig = weights.config
        self.epoch = weights.epoch
        self.network = restore_network(weights, weights.inputs, device)
        self.eval()

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the class scores, ``[N, K]``.

        Args:
            images_NCHW: Raw images, uint8 or float in [0, 255]; the network normalizes them itself.
        """
        logits_NK, _ = self.network(images_NCHW)
        scores_NK: Tensor = logits_NK
        return scores_NK


class _Predictor:
    """What MLflow calls."""

    def __init__(self, model: TrainedModel) -> None:
        self._model = model

    @torch.inference_mode()
    def predict(
        self, model_input: NDArray[Any] | Tensor, params: object = None
    ) -> NDArray[np.float32]:
        """Return the class scores, ``[N, K]``, of raw images ``[N, C, H, W]``."""
        del params  # MLflow's; there are none
        images_NCHW = torch.as_tensor(model_input)
        starts = range(0, len(images_NCHW), EVAL_BATCH_SIZE)
        scores = [self._model(images_NCHW[start : start + EVAL_BATCH_SIZE]) for start in starts]
        scores_NK: NDArray[np.float32] = torch.cat(scores).numpy()
        return scores_NK


def _load_pyfunc(path: str) -> _Predictor:
    """Return the model of a trial's weights, on the CPU; the name is MLflow's."""
    device = torch.device("cpu")
    return _Predictor(TrainedModel(load_weights(Path(path), device), device))
