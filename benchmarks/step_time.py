"""Row a: one training step with heads and regularizer over the bare step without them.

Both sides are this project's own code on the same batch: the bare step is backbone, loss, backward
and optimizer; the other adds both heads and the regularizer of the arm `full`. Process CPU time,
one thread.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from benchmarks.networks import (
    NETWORKS,
    SMALL_CNN,
    WRN_16_1,
    WRN_16_4,
    build_config,
    load_data,
    wait_for,
)
from benchmarks.options import Options
from benchmarks.table import Goal, Row
from benchmarks.timing import interleave, medians, paired_ratio
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.losses import smoothed_cross_entropy
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.memory import keep_freed_memory

STEP_S = 0.05
"""Steps that together take about this long make one timed number."""

_GOALS = {SMALL_CNN: 1.15, WRN_16_1: 1.05, WRN_16_4: 1.05}

Step = Callable[[Member, SplitDataset], None]


def measure(options: Options) -> Iterator[Row]:
    """Yield one row a network."""
    names = [SMALL_CNN] if options.is_quick else list(_GOALS)
    for name in names:
        seconds = time_steps(
            NETWORKS[name], {"bare": bare_step, "with heads": heads_step}, options=options
        )
        yield Row(
            letter="a",
            what=f"step with heads and regularizer, {name}",
            against="the same step without",
            value=paired_ratio(seconds, "with heads", "bare"),
            measure="times the time",
            goal=Goal(rule="<=", bound=1.03 if options.device == "cuda" else _GOALS[name]),
            how=medians(seconds),
        )


def time_steps(
    settings: Mapping[str, Any], steps: Mapping[str, Step], *, options: Options
) -> dict[str, list[float]]:
    """Return seconds a step of every way to take one, each way on a network of its own."""
    return time_sides({name: (settings, step) for name, step in steps.items()}, options=options)


def time_sides(
    sides: Mapping[str, tuple[Mapping[str, Any], Step]], *, options: Options
) -> dict[str, list[float]]:
    """Return seconds a step of every side: a network's settings and a way to take a step.

    The sides share data set, seed and device.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    device = torch.device(options.device)
    configs = {name: build_config(dict(settings)) for name, (settings, _) in sides.items()}
    data = load_data(next(iter(configs.values())), device)
    members = {name: Member(config, data, device) for name, config in configs.items()}

    def run(step: Step, name: str) -> None:
        step(members[name], data)
        wait_for(device)

    calls = {name: partial(run, step, name) for name, (_, step) in sides.items()}
    return interleave(
        calls,
        num_rounds=3 if options.is_quick else 41,
        calls_per_round=_calls_per_round(calls),
        clock=options.clock,
        budget_s=options.budget_s(on_cpu=60),
    )


def _calls_per_round(calls: Mapping[str, Callable[[], None]]) -> int:
    first = next(iter(calls.values()))
    first()
    start = time.perf_counter()
    first()
    return max(1, round(STEP_S / (time.perf_counter() - start)))


def bare_step(member: Member, data: SplitDataset) -> None:
    """One step of the backbone alone; its optimizer skips the heads, which have no gradient."""
    logits_NK, _ = member.network(data.train_images_NCHW[: member.config.batch_size])
    labels_N = data.train_labels_N[: member.config.batch_size]
    torch.autograd.backward(smoothed_cross_entropy(logits_NK, labels_N, 0.0))
    member.optimizer.step()
    member.optimizer.zero_grad(set_to_none=True)


def heads_step(member: Member, data: SplitDataset) -> None:
    """One step as trained: class loss, both heads, regularizer, in one pass."""
    batch_size = member.config.batch_size
    logits_NK, features_ND = member.network(data.train_images_NCHW[:batch_size])
    labels_N = data.train_labels_N[:batch_size]
    loss = smoothed_cross_entropy(logits_NK, labels_N, 0.0)
    loss = loss + member.network.heads.one_pass_loss(
        features_ND, labels_N, random_labels(member, data), ExtractorWeights(1.0, 1.0)
    )
    torch.autograd.backward(loss)
    member.optimizer.step()
    member.optimizer.zero_grad(set_to_none=True)


def random_labels(member: Member, data: SplitDataset) -> torch.Tensor:
    """Return random labels of both heads for the batch that steps are timed on, ``[2, N]``."""
    labels_N = data.train_labels_N[: member.config.batch_size]
    return (labels_N % member.config.num_random_labels).expand(2, -1)
