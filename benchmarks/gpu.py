"""Row g: how much of a GPU a step uses, and what engines gain over usual training there.

The ceiling is a large bf16 matrix product timed in the same run. On a CPU (``--rows g
--quick``) the same code runs in small sizes, to see that the command works; the figures mean
nothing there.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.baselines.loader import LoaderTraining
from benchmarks.compiled import measure_compiled
from benchmarks.gpu_tiny import measure_tiny
from benchmarks.groups import SEQUENTIAL, Case, members_of, time_engines
from benchmarks.networks import (
    MLP,
    NETWORKS,
    WRN_16_4,
    build_config,
    load_data,
    tf32,
    wait_for,
)
from benchmarks.options import Options
from benchmarks.passes import two_pass_step
from benchmarks.step_time import heads_step, time_sides, time_steps
from benchmarks.table import Goal, Row, rows_of
from benchmarks.timing import median_of, medians, paired_ratio
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.network import RLPNetwork

LOADER = "DataLoader, one model"

_BACKWARD = 3
"""A step's products over those of its forward: itself, to the inputs, to the weights."""

_IMAGES = {"dataset": "synthetic:3,32,32,100,8192"}

_AUGMENTED = {"augmentation": "flip_crop"}

WIDE_CASE = Case(
    network=WRN_16_4,
    group_size=4,
    batch_size=256,
    num_steps=24,
    precision="bf16",
    settings={**_IMAGES, **_AUGMENTED},
    gpu_budget_s=24,
)
QUICK_CASE = Case(
    network=MLP, group_size=4, num_steps=2, precision="bf16", settings=dict(_AUGMENTED)
)


def measure(options: Options) -> Iterator[Row]:
    """Return rows on the share of the ceiling, on usual training, tiny nets and compiling.

    Raises:
        RuntimeError: At the end: a part could not be measured.
    """
    settings = {**_wide_network(options), "precision": "bf16"}
    flops = step_flops(settings)
    ceiling = bf16_ceiling(torch.device(options.device), size=256 if options.is_quick else 8192)
    return rows_of(
        [
            partial(_eager_share_row, settings, options, flops=flops, ceiling=ceiling),
            partial(_group_rows, options, flops=flops, ceiling=ceiling),
            partial(_two_pass_row, options),
            partial(measure_tiny, options),
            partial(measure_compiled, _wide_name(options), settings, options),
        ]
    )


def _wide_network(options: Options) -> dict[str, Any]:
    if options.is_quick:
        return dict(NETWORKS[MLP])
    return {**NETWORKS[WRN_16_4], **_IMAGES, "batch_size": 256}


def _wide_name(options: Options) -> str:
    return MLP if options.is_quick else "WRN-16-4, 32×32, batch 256, K=R=100"


def _eager_share_row(
    settings: Mapping[str, Any], options: Options, *, flops: float, ceiling: float
) -> Iterator[Row]:
    seconds = time_steps(settings, {"eager bf16": heads_step}, options=options)["eager bf16"]
    yield Row(
        letter="g",
        what=f"{_wide_name(options)} with heads, bf16, one eager model",
        against="measured bf16 matrix ceiling",
        value=median_of([flops / s / ceiling for s in seconds]),
        measure="share",
        how=f"{statistics.median(seconds) * 1e3:.3g} ms a step of {flops / 1e9:.0f} GFLOP; "
        f"ceiling {ceiling / 1e12:.3g} TFLOP/s",
    )


def _group_rows(options: Options, *, flops: float, ceiling: float) -> Iterator[Row]:
    """Yield what engines reach with four wide networks: of the ceiling, over usual training."""
    case = QUICK_CASE if options.is_quick else WIDE_CASE
    usual = LoaderTraining(
        build_config({**members_of(case)[0].to_dict(), "precision": "fp32"}),
        torch.device(options.device),
    )
    seconds = time_engines(case, options, others={LOADER: usual})
    engines = {name: times for name, times in seconds.items() if name != LOADER}
    best = min(engines, key=lambda engine: statistics.median(engines[engine]))
    yield from _share_rows(case, engines, best, rate=flops / ceiling)
    how = f"epoch of {case.num_steps} steps: {medians(seconds)}"
    yield Row(
        letter="g",
        what=f"fastest engine ({best}), {case.name}, bf16",
        against="4 separate eager bf16 models",
        value=paired_ratio(seconds, SEQUENTIAL, best),
        measure="times faster",
        goal=Goal(rule=">=", bound=2.0),
        how=how,
    )
    four_models = [case.group_size * s for s in seconds[LOADER]]
    yield Row(
        letter="g",
        what=f"fastest engine ({best}), {case.name}, bf16, crop and flip",
        against="4 separate models, eager TF32, two passes, DataLoader with "
        f"{usual.num_workers} workers",
        value=paired_ratio({**seconds, LOADER: four_models}, LOADER, best),
        measure="times faster",
        goal=Goal(rule=">=", bound=4.0),
        how=f"{how}; the engine's with its multiplier probe",
    )


def _share_rows(
    case: Case, engines: Mapping[str, Sequence[float]], best: str, *, rate: float
) -> Iterator[Row]:
    """Yield the share of the ceiling that each engine reaches in whole epochs.

    Args:
        case: Its group.
        engines: Seconds an epoch.
        best: The fastest.
        rate: Seconds of one member's step at the ceiling.
    """
    config = members_of(case)[0]
    samples = (config.train_samples or config.batch_size) + _probe_samples(config.batch_size)
    least_s = rate / config.batch_size * samples * case.group_size
    for engine, times in engines.items():
        yield Row(
            letter="g",
            what=f"{engine}, {case.name}, bf16, whole epochs with their multiplier probe",
            against="measured bf16 matrix ceiling",
            value=median_of([least_s / s for s in times]),
            measure="share",
            goal=Goal(rule=">=", bound=0.25) if engine == best else None,
            how=medians({engine: times}),
        )


def _probe_samples(batch_size: int) -> int:
    """Return the samples whose step costs as much as a probe: 7 products each against 3."""
    return round(2 * batch_size * 7 / 3)


def _two_pass_row(options: Options) -> Iterator[Row]:
    """Yield one step as this package takes it against fp32 with two passes, data at hand."""
    settings = _wide_network(options)
    sides = {
        "TF32, two passes": (settings, _two_pass_tf32_step),
        "bf16": ({**settings, "precision": "bf16"}, heads_step),
    }
    seconds = time_sides(sides, options=options)
    yield Row(
        letter="g",
        what=f"{_wide_name(options)}, step with heads: bf16 channels_last, one pass",
        against="eager TF32 with two passes, data on the device",
        value=paired_ratio(seconds, "TF32, two passes", "bf16"),
        measure="times faster",
        how=medians(seconds),
    )


def _two_pass_tf32_step(member: Member, data: SplitDataset) -> None:
    with tf32():
        two_pass_step(member, data)


def step_flops(settings: dict[str, object]) -> float:
    """Return the floating-point operations of one step's matrix products and convolutions.

    Counted on the CPU from the shapes of one forward: 2 operations a multiplication, three times
    the forward's for forward and both backward products, the heads' included.
    """
    device = torch.device("cpu")
    config = build_config({**settings, "precision": "fp32"})
    data = load_data(config, device)
    network = RLPNetwork(config, data, device)
    counts: list[float] = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        del inputs
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        positions = output[0, 0].numel() if output.ndim == 4 else 1
        counts.append(2.0 * weight.numel() * positions)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(data.train_images_NCHW[:2])
    heads = 2.0 * network.heads.weight_HJD.numel()
    return _BACKWARD * (sum(counts) + heads) * config.batch_size


def bf16_ceiling(device: torch.device, *, size: int = 8192) -> float:
    """Return the measured rate of a size³ bf16 matrix product on random data, in FLOP/s."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(13):
        wait_for(device)
        start = time.perf_counter()
        a @ b
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    return float(2 * size**3 / statistics.median(seconds[3:]))
