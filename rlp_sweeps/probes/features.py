"""Features that probes read: at attach points of a network, of raw pixels, of no network at all.

A network is read through forward hooks on the modules that it runs anyway, in eval mode, without
augmentation, batch by batch. Shapes: N samples, C H W image, D features.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ProbeError
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.backbones import pool_features
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.metrics import EVAL_BATCH_SIZE
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.taps import in_eval_mode, take, tapped

Pooling = Literal["average", "flatten"]
POOLINGS: tuple[Pooling, ...] = ("average", "flatten")
"""How maps and tokens become one vector a sample: their mean over places, or all of them."""


class SplitFeatures(NamedTuple):
    """Features of a trial's samples, each ``[N, D]``, float, in the order of `SplitDataset`."""

    train_ND: Tensor
    val_ND: Tensor
    test_ND: Tensor

    @property
    def num_features(self) -> int:
        """D."""
        return self.train_ND.shape[1]


def network_features(
    network: RLPNetwork,
    data: SplitDataset,
    *,
    attach_points: Sequence[str] | None = None,
    pooling: Pooling = "average",
) -> dict[str, SplitFeatures]:
    """Return the features of all splits at a network's attach points, by name, in forward order.

    Args:
        network: Read in eval mode; modes, weights and running statistics stay as they are.
        data: The trial's splits, on the network's device.
        attach_points: Where to read; all of the backbone's where missing.
        pooling: What becomes of maps and tokens. With ``average`` the last attach point gives what
            the class head reads.

    Raises:
        BackboneError: There is no such attach point, or the backbone's forward does not run it.
        ProbeError: The pooling is unknown, or a feature is not finite.
    """
    names = network.backbone.attach_points if attach_points is None else tuple(attach_points)
    splits = (data.train_images_NCHW, data.val_images_NCHW, data.test_images_NCHW)
    read = [features_at(network, images, names, pooling=pooling) for images in splits]
    features = {name: SplitFeatures(*(split[name] for split in read)) for name in names}
    for name, split in features.items():
        if not all(bool(part_ND.isfinite().all()) for part_ND in split):
            msg = (
                f"features must be finite to be probed, but those at {name!r} are not; leave the "
                "trial out."
            )
            raise ProbeError(msg)
    return features


@torch.no_grad()
def features_at(
    network: RLPNetwork,
    images_NCHW: Tensor,
    attach_points: Sequence[str],
    *,
    pooling: Pooling = "average",
    batch_size: int = EVAL_BATCH_SIZE,
) -> dict[str, Tensor]:
    """Return the features of images at attach points, ``[N, D]`` each, in the heads' dtype.

    Args:
        network: Read in eval mode and left as it was.
        images_NCHW: Raw images, uint8 or float in [0, 255].
        attach_points: Names of the backbone's.
        pooling: What becomes of maps and tokens.
        batch_size: Samples read at a time.

    Raises:
        BackboneError: There is no such attach point, or the backbone's forward does not run it.
        ProbeError: The pooling is unknown.
    """
    check_pooling(pooling)
    batches: dict[str, list[Tensor]] = {name: [] for name in attach_points}
    modules = {name: network.backbone.attach_point(name) for name in attach_points}

    def pool(name: str, output: Tensor) -> Tensor:
        vectors_ND = pool_features(output) if pooling == "average" else output.flatten(1)
        return vectors_ND.clone()  # a layer above may work in place

    with in_eval_mode(network), tapped(modules, pool) as outputs:
        for start in range(0, len(images_NCHW), batch_size):
            network.features(images_NCHW[start : start + batch_size])
            for parts, read_ND in zip(batches.values(), take(outputs, batches), strict=True):
                parts.append(read_ND.to(network.heads.dtype))
    return {name: torch.cat(parts) for name, parts in batches.items()}


def pixel_features(data: SplitDataset) -> SplitFeatures:
    """Return the images of all splits as vectors of ``pixel / 255``, ``[N, C·H·W]``, float32."""
    splits = (data.train_images_NCHW, data.val_images_NCHW, data.test_images_NCHW)
    return SplitFeatures(*(images_NCHW.flatten(1).float() / 255 for images_NCHW in splits))


def untrained_network(config: TrialConfig, data: SplitDataset, device: torch.device) -> RLPNetwork:
    """Return the trial's network as it was before its first step, from the same streams."""
    return RLPNetwork(config, data, device)


def gaussian_features(data: SplitDataset, *, num_features: int, seed: int) -> SplitFeatures:
    """Return i.i.d. standard normal features for all splits, ``[N, D]``, float32.

    They hold nothing of the images: what a head reads from them it has memorized by itself.

    Args:
        data: Gives numbers of samples and the device.
        num_features: D; each D has a stream of its own.
        seed: The replicate's number.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, "gaussian_features", num_features))
    labels = (data.train_labels_N, data.val_labels_N, data.test_labels_N)
    return SplitFeatures(
        *(
            torch.randn(len(labels_N), num_features, generator=generator).to(labels_N.device)
            for labels_N in labels
        )
    )


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that is unknown.

    Raises:
        ProbeError: It is none of `POOLINGS`.
    """
    if pooling not in POOLINGS:
        msg = f"`pooling in {list(POOLINGS)}` must hold, but got pooling={pooling!r}."
        raise ProbeError(msg)
