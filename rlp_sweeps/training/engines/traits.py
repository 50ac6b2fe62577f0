"""What an engine's speed depends on, counted and not timed: the same on every machine.

Grouping pays where a step is bound by the launch of its operations and not by their work, so that
the work of one layer on one batch is what tells.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.data_settings import DATA_DEFAULTS
from rlp_sweeps.errors import BackboneError, DeviceError
from rlp_sweeps.training.backbones import Backbone, build_backbone
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.engines.probing import last_line
from rlp_sweeps.training.heads import HeadShape
from rlp_sweeps.training.image_arrays import DatasetInfo
from rlp_sweeps.training.places import head_places

SAMPLES_A_WEIGHT = 16
"""Samples whose products with a weight stand for reading and updating it once a step."""

_NUM_SAMPLES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class NetTraits:
    """What the choice of an engine is made from.

    Attributes:
        kind: Where most of the backbone's multiplications are: in ``convolution``, in layers on
            ``vectors`` or in layers on ``tokens``.
        precision: As in the configuration.
        work: Multiplications of a forward pass over one batch, a layer on average, heads included;
            every weight counts for `SAMPLES_A_WEIGHT` samples more.
    """

    kind: str
    precision: str
    work: float


def net_traits(config: TrialConfig, info: DatasetInfo) -> NetTraits:
    """Return the traits of a trial's network on its data's shapes.

    Args:
        config: Names backbone, batch size, random labels and precision.
        info: Shape of an image, number of classes.

    Raises:
        BackboneError: The backbone cannot be built for these images.
    """
    counts = _count(replace(_network_alone(config), batch_size=_NUM_SAMPLES), info)
    num_samples = config.batch_size + SAMPLES_A_WEIGHT
    work = (
        config.batch_size * counts.products / _NUM_SAMPLES
        + SAMPLES_A_WEIGHT * counts.weights
        + num_samples * counts.head_weights
    )
    work_a_layer = work / (counts.num_layers + 1)
    return NetTraits(kind=counts.kind, precision=config.precision, work=work_a_layer)


def engine_refusal(config: TrialConfig, info: DatasetInfo, *, engine: str) -> str | None:
    """Return why an engine cannot train a trial's backbone on a CPU, or None where it can.

    Two members train for two steps and are evaluated, on generated images of the data's shape.

    Raises:
        ConfigError: No such engine.
    """
    tiny = replace(
        _network_alone(config),
        dataset="synthetic:{},{},{},{},16".format(*info.image_shape, info.num_classes),
        train_samples=8,
        val_samples=1,
        test_samples=1,
        batch_size=4,
        projector_width=min(config.projector_width, 8),
    )
    return _refusal(tiny, engine)


@lru_cache(maxsize=256)
def _refusal(tiny: TrialConfig, engine: str) -> str | None:
    members = [tiny, replace(tiny, lr=2 * tiny.lr)]
    try:
        built = get_engine(engine)(members, data_dir="", device=torch.device("cpu"))
        outcomes = built.advance(1, evaluates=True)
    except (BackboneError, DeviceError) as error:
        return str(error)
    traces = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    return last_line(traces[0]) if traces else None


def _network_alone(config: TrialConfig) -> TrialConfig:
    """Return the trial with all settings alike that its network does not depend on."""
    return replace(
        config,
        arm="control",
        lr=1e-6,
        rlp_lambda=0.0,
        label_smoothing=0.0,
        weight_decay=0.0,
        extractor_scale=1.0,
        matched_multiplier=None,
        matched_trajectory=None,
        seed=0,
        train_samples=None,
        val_samples=None,
        test_samples=None,
        **DATA_DEFAULTS,
        augmentation="none",
        head_lr=None,
        head_weight_decay=0.0,
        schedule="constant",
        warmup_epochs=0,
        num_epochs=1,
        eval_every=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """Of one network: multiplications of weights with `_NUM_SAMPLES` samples, weights, layers."""

    kind: str
    products: int
    weights: int
    head_weights: int
    num_layers: int


@lru_cache(maxsize=256)
def _count(config: TrialConfig, info: DatasetInfo) -> _Counts:
    backbone = build_backbone(config, image_shape=info.image_shape, num_classes=info.num_classes)
    layers = [module for module in backbone.modules() if _num_weights(module)]
    products = _count_products(backbone, layers, info)
    places = head_places(config, backbone, image_shape=info.image_shape)
    shape = HeadShape.of(
        config.head, num_classes=info.num_classes, num_random_labels=config.num_random_labels
    )
    return _Counts(
        kind=max(sorted(products), key=lambda kind: products[kind], default="vectors"),
        products=products.total(),
        weights=sum(map(_num_weights, layers)),
        head_weights=2 * sum(place.num_features for place in places) * shape.num_outputs,
        num_layers=len(layers),
    )


def _count_products(
    backbone: Backbone, layers: Sequence[nn.Module], info: DatasetInfo
) -> Counter[str]:
    """Return multiplications of weights with `_NUM_SAMPLES` samples, by kind of layer."""
    products: Counter[str] = Counter()

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        del inputs
        out = output[0] if isinstance(output, tuple) else output
        if isinstance(out, Tensor) and out.ndim >= 2:
            is_convolution = isinstance(module, _ConvNd)
            kind = "convolution" if is_convolution else "vectors" if out.ndim == 2 else "tokens"
            num_positions = out.numel() // out.shape[1 if is_convolution else -1]
            products[kind] += _num_weights(module) * num_positions

    hooks = [module.register_forward_hook(count) for module in layers]
    with torch.inference_mode():
        backbone.eval()(torch.zeros(_NUM_SAMPLES, *info.image_shape))
    for hook in hooks:
        hook.remove()
    return products


def _num_weights(module: nn.Module) -> int:
    """Return the numbers in a layer's own matrices and kernels."""
    return sum(p.numel() for p in module.parameters(recurse=False) if p.ndim >= 2)
