"""Networks that steps and groups are timed on, as settings of a trial.

The sizes are those of a sweep's daily work: an MLP and small CNNs on 8×8 digits, wide residual
networks on generated 32×32 images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset, split_dataset

_DIGITS = {"dataset": "digits", "num_random_labels": 10}
_WRN = {"backbone": "wide_resnet", "backbone_depth": 16}
_IMAGES = {"dataset": "synthetic:3,32,32,100,1024"}

MLP = "MLP 64-32-32, digits, batch 32"
TINY_CNN = "small CNN width 8, digits, batch 32"
SMALL_CNN = "small CNN width 16, digits, batch 128"
WRN_16_1 = "WRN-16-1, 32×32, batch 64, K=100, R=10"
WRN_16_4 = "WRN-16-4, 32×32, batch 32, K=R=100"

NETWORKS: dict[str, dict[str, Any]] = {
    MLP: {**_DIGITS, "backbone": "mlp", "backbone_width": 32, "batch_size": 32},
    TINY_CNN: {**_DIGITS, "backbone": "small_cnn", "backbone_width": 8, "batch_size": 32},
    SMALL_CNN: {**_DIGITS, "backbone": "small_cnn", "batch_size": 128},
    WRN_16_1: {
        **_WRN,
        **_IMAGES,
        "backbone_width": 1,
        "batch_size": 64,
        "num_random_labels": 10,
    },
    WRN_16_4: {
        **_WRN,
        **_IMAGES,
        "backbone_width": 4,
        "batch_size": 32,
        "num_random_labels": 100,
    },
}


def build_config(settings: dict[str, Any]) -> TrialConfig:
    """Return a trial of the arm `full` with these settings; they replace the usual ones."""
    usual = {"arm": "full", "lr": 1e-3, "rlp_lambda": 1.0, "seed": 0}
    return TrialConfig.from_dict({**usual, **settings})


def load_data(config: TrialConfig, device: torch.device) -> SplitDataset:
    """Return the trial's data on the device."""
    return split_dataset(config, data_dir="data", device=device)


def wait_for(device: torch.device) -> None:
    """Return once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def tf32() -> Iterator[None]:
    """Let a GPU round float32 products to TF32 inside; a CPU has no such thing."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
