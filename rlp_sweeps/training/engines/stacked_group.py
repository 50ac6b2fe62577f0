"""The live members of a group as one program: one forward, one backward, one optimizer a step.

The loss of a step is the sum of the members' losses, so that every member gets its own gradient and
nothing of its neighbours'. Members are ordered by seed, and those of one seed share their batches.

Shapes: S seeds, M members, N samples, C H W image, K classes, R random labels, H = 2 heads, T steps
of an epoch.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.engines.broadcast_optimizers import LARGEST_MEMBER, BroadcastSGD
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.flat_optimizers import FlatAdamW, FlatSGD
from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.engines.memberwise_optimizers import MemberwiseAdamW, MemberwiseSGD
from rlp_sweeps.training.engines.stacked_batch import StackedBatch
from rlp_sweeps.training.engines.stacked_data import StackedData
from rlp_sweeps.training.engines.stacked_heads import stack_weights
from rlp_sweeps.training.engines.stacked_metrics import evaluate_stacked
from rlp_sweeps.training.engines.stacked_network import (
    StackedLosses,
    StackedNetwork,
    StackedReadings,
)
from rlp_sweeps.training.engines.stacked_optimizer import StackedOptimizer
from rlp_sweeps.training.member import extractor_weights
from rlp_sweeps.training.mixup import blend
from rlp_sweeps.training.multipliers import (
    NUM_SUMS,
    PROBE_COLUMNS,
    ExtractorGradients,
    gradients_of,
    multiplier_metrics,
    probe_products,
    restored_buffers,
)
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.projection import (
    GradientWeights,
    inner_products,
    member_weights,
    projected_backward,
    projected_gradients,
)
from rlp_sweeps.training.schedules import lr_factor
from rlp_sweeps.training.seed_data import SeedData


class StackedGroup:
    """M trials in training; every member's numbers are those that it has alone.

    Attributes:
        configs: The members', those of one seed next to each other.
        step: Optimizer steps completed.

    Raises:
        DatasetError: A batch is larger than the training split.
        BackboneError: The extractors cannot be stacked.
    """

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        data: Mapping[int, SplitDataset],
        device: torch.device,
        *,
        stack: type[StackedExtractor],
    ) -> None:
        seeds = list(dict.fromkeys(config.seed for config in configs))
        self.configs = sorted(configs, key=lambda config: seeds.index(config.seed))
        self.step = 0
        self._device = device
        self._layout = StackLayout(_counts_by_seed(self.configs))
        firsts = {config.seed: config for config in reversed(self.configs)}
        self._seeds = {seed: SeedData(firsts[seed], data[seed], device) for seed in seeds}
        alone = {seed: RLPNetwork(firsts[seed], data[seed], device) for seed in seeds}
        self._network = StackedNetwork(
            [alone[config.seed] for config in self.configs],
            self._layout,
            stack=stack,
            image_shape=data[seeds[0]].image_shape,
        )
        is_bf16, maps_format = self._network.is_bf16, self._network.extractor.maps_format
        self._layout.memory_format = torch.channels_last if is_bf16 else maps_format
        shape = (self._layout.num_members, NUM_SUMS)
        self._sums_M4 = torch.zeros(shape, dtype=torch.float64, device=device)
        self._probe_5M = torch.full(
            (len(PROBE_COLUMNS), shape[0]), torch.nan, dtype=torch.float64, device=device
        )
        self._described = _describe(alone[seeds[0]], self._seeds[seeds[0]])
        self._prepare()

    def _prepare(self) -> None:
        """Make what follows from which members there are."""
        heads = self._network.heads
        self._data = StackedData(
            self.configs, self._seeds, self._layout, shape=heads.shape, like=heads.like.new_empty(0)
        )
        like = heads.like
        weights = stack_weights([extractor_weights(c) for c in self.configs], like)
        replays = any(config.matched_trajectory is not None for config in self.configs)
        self._weights = weights._replace(scales_any=weights.scales_any or replays)
        epsilons = [config.label_smoothing for config in self.configs]
        self._label_smoothing_M = like.new_tensor(epsilons) if any(epsilons) else None
        self._lr_M1 = torch.tensor(
            [[config.lr] for config in self.configs], dtype=torch.float64, device=self._device
        )
        self._optimizer = self._build_optimizer()

    def _replay(self, epoch: int) -> None:
        """Scale the members' class losses as the epoch says, in place: a captured step reads it."""
        if any(config.matched_trajectory is not None for config in self.configs):
            scales = [config.class_loss_scale(epoch) for config in self.configs]
            self._weights.class_loss_M.copy_(self._weights.class_loss_M.new_tensor(scales))

    def _build_optimizer(self) -> StackedOptimizer:
        backbone = self._network.backbone_parameters()
        heads = self._network.heads_parameters()
        is_flat = self._device.type == "cuda"  # few launches there, one cache's worth here
        num_parameters = sum(p[0].numel() for p in (*backbone.values(), *heads.values()))
        kind: Callable[..., StackedOptimizer]
        if self.configs[0].optimizer == "adamw":
            kind = FlatAdamW if is_flat else MemberwiseAdamW
        elif is_flat:
            kind = FlatSGD
        else:  # by the size of one member, for its bits must not depend on how many there are
            kind = BroadcastSGD if num_parameters <= LARGEST_MEMBER else MemberwiseSGD
        return kind(self.configs, backbone, heads, num_steps=self.step)

    def train_epoch(self, epoch: int) -> list[float]:
        """Train one epoch; return each member's mean L_class over its steps, in nats.

        Nothing is read back from the device before the end.

        Args:
            epoch: Number of this epoch, from 1.
        """
        steps = self._any_seed.steps_per_epoch
        self._replay(epoch)
        half_batches = self._data.half_batches(epoch)  # host work, done before the device is busy
        loss_M = torch.zeros(self._layout.num_members, dtype=torch.float64, device=self._device)
        with self._dropout("dropout", epoch):
            for index, batch in enumerate(self._data.batches(epoch)):
                if index == steps // 2:
                    self._probe(half_batches, epoch)
                loss_M += self._train_step(batch)
        return list((loss_M / steps).tolist())

    def evaluate(self, epoch: int) -> list[dict[str, float | None]]:
        """Return each member's metrics and multipliers at the end of `epoch`, by column name."""
        data = [seed.data for seed in self._seeds.values()]
        rows = evaluate_stacked(self._network, data, self._data.random_labels(epoch))
        probes = self._probe_5M.T.tolist()
        return [
            {**metrics, **multiplier_metrics(probe, sums, config)}
            for metrics, probe, sums, config in zip(
                rows, probes, self._sums_M4.tolist(), self.configs, strict=True
            )
        ]

    def describe(self) -> dict[str, Any]:
        """Return what a row says about a member beside its configuration and metrics."""
        return dict(self._described)

    def current_lr(self, config: TrialConfig) -> float:
        """Return a member's learning rate in the last step."""
        return config.lr * self._lr_factor(self.step - 1)

    def select(self, members: Sequence[int]) -> None:
        """Keep these members only; what the others held is free.

        Args:
            members: Their positions in `configs`, ascending.
        """
        states = [self._optimizer.member_state(member) for member in members]
        self.configs = [self.configs[member] for member in members]
        counts = _counts_by_seed(self.configs)
        self._network.select(members, counts)
        self._seeds = {config.seed: self._seeds[config.seed] for config in self.configs}
        index_M = torch.tensor(members, device=self._device)
        self._sums_M4 = self._sums_M4[index_M]
        self._probe_5M = self._probe_5M[:, index_M]
        self._prepare()
        self._optimizer.load_members(states)

    def member_state(self, member: int) -> dict[str, Any]:
        """Return all that one member needs to go on after this epoch: tensors, plain values."""
        return {
            "network": self._network.member_state(member),
            "optimizer": self._optimizer.member_state(member),
            "multiplier_sums": self._sums_M4[member].clone(),
            "step": self.step,
        }

    def network_state(self, member: int) -> dict[str, Tensor]:
        """Return a copy of one member's network, as `RLPNetwork.state_dict` has it alone."""
        return self._network.network_state(member)

    def member_alone(self, member: int) -> tuple[RLPNetwork, TrialConfig, SplitDataset]:
        """Return a copy of one member's network as it is alone, its configuration and data."""
        config = self.configs[member]
        data = self._seeds[config.seed].data
        network = RLPNetwork(config, data, self._device)
        network.load_state_dict(self.network_state(member))
        return network, config, data

    def load_members(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what `member_state` returned, one state a member, in order."""
        self.step = states[0]["step"]
        self._network.load_members([state["network"] for state in states])
        self._sums_M4 = torch.stack([s["multiplier_sums"] for s in states]).to(self._device)
        self._prepare()
        self._optimizer.load_members([state["optimizer"] for state in states])

    @property
    def _any_seed(self) -> SeedData:
        return next(iter(self._seeds.values()))

    def _lr_factor(self, step: int) -> float:
        config, steps = self.configs[0], self._any_seed.steps_per_epoch
        return lr_factor(
            config.schedule,
            step=step,
            num_steps=steps * config.num_epochs,
            warmup_steps=steps * config.warmup_epochs,
        )

    def _train_step(self, batch: StackedBatch) -> Tensor:
        """Take one step; return the members' L_class before it, ``[M]``."""
        class_loss_M = self._backward(batch)
        self._optimizer.step(self._lr_factor(self.step))
        self.step += 1
        return class_loss_M

    def _backward(self, batch: StackedBatch) -> Tensor:
        """Leave the gradients in the parameters; return the members' L_class, ``[M]``."""
        losses = self._losses(self._network.read(batch.images_SNCHW), batch)
        if self._weights.projects_any:
            class_loss, heads_loss = losses.class_loss_M.sum(), losses.heads_loss_M.sum()
            projected_backward(class_loss, heads_loss, self._network.trained, weigh=self._weigh)
        else:
            torch.autograd.backward((losses.class_loss_M + losses.heads_loss_M).sum())
        return losses.class_loss_M.detach()

    def _losses(self, readings: StackedReadings, batch: StackedBatch) -> StackedLosses:
        """Return the members' losses of a training step, blended where images are."""
        own = self._network.training_losses(
            readings.features_MND,
            batch.labels_MN,
            batch.targets_MNH,
            self._weights,
            label_smoothing_M=self._label_smoothing_M,
            taps=readings.taps,
        )
        partner = batch.partner()
        if batch.share_M is None or partner is None:
            return own
        return StackedLosses(*blend(own, self._losses(readings, partner), batch.share_M))

    def _weigh(
        self, class_grad: Sequence[Tensor], regularizer_grad: Sequence[Tensor]
    ) -> GradientWeights:
        """Return each member's factors of its two gradients, ``[M]``."""
        class_MP, regularizer_MP = (
            torch.cat([g.flatten(1) for g in grads], 1) for grads in (class_grad, regularizer_grad)
        )
        products = inner_products([class_MP], [regularizer_MP], dot=_member_dot)
        return member_weights(products, self._weights.projections)

    def _probe(self, half_batches: Sequence[StackedBatch], epoch: int) -> None:
        """Measure the extractors' gradients; the probe stands for the steps of this epoch.

        Without a class loss there is nothing to measure along.
        """
        if self._network.is_single_output:
            return
        with self._dropout("probe", epoch), restored_buffers(self._network):
            on_halves = [self._gradients(batch) for batch in half_batches]
        self._probe_5M = probe_products(*on_halves, dot=_member_dot)
        lr_M1 = self._lr_M1 * self._lr_factor(self.step)
        self._sums_M4 += self._probe_5M[:NUM_SUMS].T * (lr_M1 * self._any_seed.steps_per_epoch)

    def _gradients(self, batch: StackedBatch) -> ExtractorGradients:
        """Return the extractors' gradients on one half-batch, each one tensor ``[M, P]``."""
        readings = self._network.read(batch.images_SNCHW)
        trained = self._losses(readings, batch)
        plain_M, *terms_M = self._untrained_losses(readings, batch)
        members = (plain_M, trained.class_loss_M + trained.heads_loss_M, *terms_M)
        parameters = list(self._network.extractor.parameters())
        projected = None
        if self._weights.projects_any:
            sums = (trained.class_loss_M.sum(), trained.heads_loss_M.sum())
            projected = projected_gradients(*sums, parameters, weigh=self._weigh)
        gradients = gradients_of([loss_M.sum() for loss_M in members], parameters)
        if projected is not None:
            gradients = gradients._replace(trained=projected)
        return ExtractorGradients(*([torch.cat([g.flatten(1) for g in x], 1)] for x in gradients))

    def _untrained_losses(
        self, readings: StackedReadings, batch: StackedBatch
    ) -> tuple[Tensor, ...]:
        """Return class loss, class term and uniform term at weight 1, ``[M]`` each."""
        logits_MNK = self._network.classify(readings.features_MND)
        plain_M = self._network.class_losses(logits_MNK, batch.labels_MN, self._label_smoothing_M)
        terms_M = self._network.adversary_terms(readings, batch.labels_MN, batch.targets_MNH)
        partner = batch.partner()
        if batch.share_M is None or partner is None:
            return (plain_M, *terms_M)
        other = self._untrained_losses(readings, partner)
        return blend((plain_M, *terms_M), other, batch.share_M)

    @contextmanager
    def _dropout(self, stream: str, epoch: int) -> Iterator[None]:
        """Draw dropout masks from that stream of each seed inside."""
        outer = self._layout.generators
        self._layout.generators = [
            torch.Generator(self._device).manual_seed(seed.dropout_seed(stream, epoch))
            for seed in self._seeds.values()
        ]
        try:
            yield
        finally:
            self._layout.generators = outer


def _member_dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return each member's inner product, ``[M]``, float64."""
    return (left[0] * right[0]).sum(1, dtype=torch.float64)


def _counts_by_seed(configs: Sequence[TrialConfig]) -> tuple[int, ...]:
    by_seed = itertools.groupby(configs, key=lambda config: config.seed)
    return tuple(len(list(members)) for _, members in by_seed)


def _describe(network: RLPNetwork, seed: SeedData) -> dict[str, Any]:
    return {
        "num_classes": seed.data.num_classes,
        "num_train_samples": seed.num_samples,
        "num_parameters": sum(p.numel() for p in network.class_parameters),
        "num_features": network.places[0].num_features,
    }
