"""One member of a group: a trial's network, optimizer and sums, trained epoch by epoch.

All chance comes from streams of (seed, name, epoch), so that a member restored at the end of an
epoch goes on with the bits it would have had. Shapes: N samples, C H W image.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlp_sweeps.arms import get_arm
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.head_kinds import SINGLE_OUTPUT
from rlp_sweeps.training.batch import Batch, batch_losses
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.metrics import evaluate
from rlp_sweeps.training.multipliers import (
    PROBE_COLUMNS,
    MultiplierSums,
    multiplier_metrics,
    probe_gradients,
)
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.optimizers import build_optimizer, current_lr, set_lr
from rlp_sweeps.training.projection import projected_backward, weigher
from rlp_sweeps.training.schedules import lr_factor
from rlp_sweeps.training.seed_data import SeedData


def extractor_weights(config: TrialConfig, epoch: int = 1) -> ExtractorWeights:
    """Return what a trial's extractor is trained on: its arm times λ, its class loss's scale.

    Args:
        config: The trial's.
        epoch: From 1; replayed arms scale the class loss by a number of the epoch's own.
    """
    if config.head == SINGLE_OUTPUT:  # trained by L_reg in place of a class loss
        return ExtractorWeights(class_term=1.0, uniform_term=1.0)
    arm = get_arm(config.arm)
    return ExtractorWeights(
        class_term=config.rlp_lambda * arm.weight_class_term,
        uniform_term=config.rlp_lambda * arm.weight_uniform_term,
        class_loss=config.class_loss_scale(epoch),
        class_mean=config.rlp_lambda * arm.weight_class_mean,
        mean_rest=config.rlp_lambda * arm.weight_mean_rest,
        permutes_uniform_term=arm.permutes_uniform_term,
        projection=arm.projection,
    )


class Member:
    """One trial in training.

    Attributes:
        samples: What its seed trains on.

    Raises:
        DatasetError: A batch is larger than the training split.
        BackboneError: The backbone cannot be built for these images.
    """

    def __init__(self, config: TrialConfig, data: SplitDataset, device: torch.device) -> None:
        self.config = config
        self.data = data
        self.device = device
        self.network = RLPNetwork(config, data, device)
        self.optimizer = build_optimizer(config, self.network)
        self.samples = SeedData(config, data, device)
        self.weights = extractor_weights(config)
        self.multiplier_sums = MultiplierSums(device)
        self.step = 0
        self._probe_5 = torch.full(
            (len(PROBE_COLUMNS),), math.nan, dtype=torch.float64, device=device
        )

    def train_epoch(self, epoch: int) -> float:
        """Train one epoch; return the mean L_class over its steps, in nats, train mode.

        The last, partial batch is dropped. Nothing is read back from the device before the end.

        Args:
            epoch: Number of this epoch, from 1.
        """
        samples = self.samples
        self.weights = extractor_weights(self.config, epoch)
        half_batches = self._half_batches(epoch)  # host work, done before the device is busy
        with self._seeded("dropout", epoch):
            order_N = samples.order("order", epoch)[: samples.samples_per_epoch]
            labels_N = samples.labels(order_N, epoch)
            random_labels_HN = self.random_labels(epoch)[:, order_N]
            draws = samples.draw(order_N, "augment", epoch)
            mixes = samples.mixes(epoch)
            loss = torch.zeros((), dtype=torch.float64, device=self.device)
            for index in range(samples.steps_per_epoch):
                set_lr(self.optimizer, self._lr_factor)
                if index == samples.steps_per_epoch // 2:
                    self._probe(half_batches, epoch)
                batch = slice(index * self.config.batch_size, (index + 1) * self.config.batch_size)
                images_NCHW = samples.images(order_N, draws, batch)
                trained = Batch(images_NCHW, labels_N[batch], random_labels_HN[:, batch])
                loss += self._train_step(trained if mixes is None else trained.mixed(mixes[index]))
        return float(loss) / samples.steps_per_epoch

    def evaluate(self, epoch: int) -> dict[str, float | None]:
        """Return metrics and multipliers at the end of `epoch`, by column name."""
        metrics = evaluate(self.network, self.data, self.random_labels(epoch))
        probe, sums = self._probe_5.tolist(), self.multiplier_sums.sums_4.tolist()
        return {**metrics, **multiplier_metrics(probe, sums, self.config)}

    def random_labels(self, epoch: int) -> Tensor:
        """Return the training samples' random labels, adversary's and observer's, ``[2, N]``."""
        redraws = get_arm(self.config.arm).redraws_random_labels
        return self.samples.random_labels(epoch, redraws=redraws)

    def describe(self) -> dict[str, Any]:
        """Return what a row says about this member beside its configuration and metrics."""
        return {
            "num_classes": self.data.num_classes,
            "num_train_samples": self.samples.num_samples,
            "num_parameters": sum(p.numel() for p in self.network.class_parameters),
            "num_features": self.network.places[0].num_features,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all that training needs to go on after this epoch: tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "multiplier_sums": self.multiplier_sums.sums_4,
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.multiplier_sums.sums_4.copy_(state["multiplier_sums"])
        self.step = state["step"]

    @property
    def current_lr(self) -> float:
        """Learning rate of the last step."""
        return current_lr(self.optimizer)

    @property
    def _lr_factor(self) -> float:
        return lr_factor(
            self.config.schedule,
            step=self.step,
            num_steps=self.samples.steps_per_epoch * self.config.num_epochs,
            warmup_steps=self.samples.steps_per_epoch * self.config.warmup_epochs,
        )

    def _train_step(self, batch: Batch) -> Tensor:
        class_loss, heads_loss = batch_losses(
            self.network,
            self.network.read(batch.images_NCHW),
            batch,
            self.weights,
            label_smoothing=self.config.label_smoothing,
        )
        if self.weights.projection == "none":
            torch.autograd.backward(class_loss + heads_loss)
        else:
            weigh = weigher(self.weights.projection)
            projected_backward(class_loss, heads_loss, self.network.trained, weigh=weigh)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return class_loss.detach()

    def _half_batches(self, epoch: int) -> list[Batch]:
        """Return the two disjoint half-batches of the epoch's probe."""
        half = self.samples.probe_size
        index_N = self.samples.order("probe", epoch)[: 2 * half]
        draws = self.samples.draw(index_N, "probe", epoch)
        images_NCHW = self.samples.images(index_N, draws, slice(None))
        labels_N = self.samples.labels(index_N, epoch)
        random_labels_HN = self.random_labels(epoch)[:, index_N]
        halves = (slice(0, half), slice(half, 2 * half))
        batches = [Batch(images_NCHW[h], labels_N[h], random_labels_HN[:, h]) for h in halves]
        mixes = self.samples.probe_mixes(epoch)
        if mixes is None:
            return batches
        return [batch.mixed(mix) for batch, mix in zip(batches, mixes, strict=True)]

    def _probe(self, half_batches: Sequence[Batch], epoch: int) -> None:
        """Measure the extractor's gradients; the probe stands for the steps of this epoch.

        Without a class loss there is nothing to measure along.
        """
        if self.network.is_single_output:
            return
        with self._seeded("probe", epoch):
            self._probe_5 = probe_gradients(
                self.network,
                half_batches,
                self.weights,
                label_smoothing=self.config.label_smoothing,
            )
        self.multiplier_sums.add(
            self._probe_5, lr=self.current_lr, num_steps=self.samples.steps_per_epoch
        )

    def _seeded(self, stream: str, epoch: int) -> "_Seeded":
        return _Seeded(self.samples.dropout_seed(stream, epoch), self.device)


class _Seeded:
    """Seed torch's global generators inside, for dropout, and put their state back on leaving."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._fork = torch.random.fork_rng([device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *args: object) -> None:
        self._fork.__exit__(*args)  # type: ignore[arg-type]  # the context manager's own protocol
