"""Row h: what batches cost, order, gather and augmentation, as a share of an epoch of training.

Both sides walk through the same epoch: drawing order, labels and augmentation parameters, then
cutting and augmenting every batch on the device. One of them also takes the step on each batch,
the eager one of row a. On the side without steps nothing is hidden behind the device's work, so
that the share is an upper bound.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import torch

from benchmarks.networks import NETWORKS, TINY_CNN, WRN_16_4, build_config, load_data, wait_for
from benchmarks.options import Options
from benchmarks.step_time import heads_step
from benchmarks.table import Goal, Row
from benchmarks.timing import interleave, medians, paired_ratio
from rlp_sweeps.training.member import Member

_AUGMENTED = {"augmentation": "flip_crop"}
_ON_CPU = {**NETWORKS[WRN_16_4], **_AUGMENTED, "train_samples": 64}
_ON_GPU = {
    **NETWORKS[WRN_16_4],
    **_AUGMENTED,
    "dataset": "synthetic:3,32,32,100,8192",
    "batch_size": 256,
    "train_samples": 24 * 256,
    "precision": "bf16",
}


def measure(options: Options) -> Iterator[Row]:
    """Yield one row."""
    torch.set_num_threads(1)
    device = torch.device(options.device)
    name, settings = _network(options)
    config = build_config(settings)
    data = load_data(config, device)
    member = Member(config, data, device)
    seconds = interleave(
        {
            "data": partial(_walk, member, count(1), takes_steps=False),
            "data and steps": partial(_walk, member, count(1), takes_steps=True),
        },
        num_rounds=2 if options.is_quick else 21,
        clock=options.clock,
        budget_s=options.budget_s(on_cpu=40),
    )
    yield Row(
        letter="h",
        what=f"order, gather, crop and flip, {name}",
        against="an epoch of them and the steps with heads",
        value=paired_ratio(seconds, "data", "data and steps"),
        measure="share",
        goal=Goal(rule="<=", bound=0.02),
        how=f"{medians(seconds)} an epoch of {member.samples.steps_per_epoch} steps",
    )


def _network(options: Options) -> tuple[str, dict[str, Any]]:
    if options.is_quick:
        return TINY_CNN, {**NETWORKS[TINY_CNN], **_AUGMENTED}
    if options.device == "cpu":
        return WRN_16_4, _ON_CPU
    return "WRN-16-4, 32×32, batch 256, K=R=100, bf16", _ON_GPU


def _walk(member: Member, epochs: Iterator[int], *, takes_steps: bool) -> None:
    """Go through one epoch's batches, as `Member.train_epoch` does; without its probe."""
    epoch, samples, data = next(epochs), member.samples, member.data
    order_N = samples.order("order", epoch)[: samples.samples_per_epoch]
    labels_N = data.train_labels_N[order_N]
    random_labels_HN = member.random_labels(epoch)[:, order_N]
    draws = samples.draw(order_N, "augment", epoch)
    size = member.config.batch_size
    for start in range(0, samples.samples_per_epoch, size):
        part = slice(start, start + size)
        images_NCHW = samples.images(order_N, draws, part)
        batch = replace(data, train_images_NCHW=images_NCHW, train_labels_N=labels_N[part])
        random_labels_HN[:, part]
        if takes_steps:
            heads_step(member, batch)
    wait_for(member.device)
