"""Row g: how much of a GPU a step uses, and what engines gain over eager training there.

The ceiling is a large bf16 matrix product timed in the same run. On a CPU (``--rows g
--quick``) the same code runs in small sizes, to see that the command works; the figures mean
nothing there.
"""

import statistics
import time
from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.groups import Case, members_of, time_engines
from benchmarks.networks import (
    MLP,
    NETWORKS,
    TINY_CNN,
    WRN_16_1,
    WRN_16_4,
    build_config,
    load_data,
    wait_for,
)
from benchmarks.options import Options
from benchmarks.passes import two_pass_step
from benchmarks.step_time import heads_step, time_sides, time_steps
from benchmarks.table import Goal, Row
from benchmarks.timing import median_of, medians, paired_ratio
from rlp_sweeps.training.engines import ENGINES
from rlp_sweeps.training.network import RLPNetwork

_BACKWARD = 3
"""A step's products over those of its forward: itself, to the inputs, to the weights."""

_STEP_CASE = {"batch_size": 256, "dataset": "synthetic:3,32,32,100,1024"}


def measure(options: Options) -> Iterator[Row]:
    """Yield rows on the share of the ceiling, on precision and passes, on groups of tiny nets."""
    yield from _share_rows(options)
    yield from _eager_rows(options)
    yield from _tiny_rows(options)


def _wide_network(options: Options) -> dict[str, object]:
    settings = NETWORKS[MLP] if options.is_quick else {**NETWORKS[WRN_16_4], **_STEP_CASE}
    return dict(settings)


def _wide_name(options: Options) -> str:
    return MLP if options.is_quick else "WRN-16-4, 32×32, batch 256, K=R=100"


def _share_rows(options: Options) -> Iterator[Row]:
    settings = {**_wide_network(options), "precision": "bf16"}
    seconds = time_steps(settings, {"eager bf16": heads_step}, options=options)["eager bf16"]
    flops = step_flops(settings)
    ceiling = bf16_ceiling(torch.device(options.device), size=256 if options.is_quick else 8192)
    yield Row(
        letter="g",
        what=f"{_wide_name(options)} with heads, bf16, one eager model",
        against="measured bf16 matrix ceiling",
        value=median_of([flops / s / ceiling for s in seconds]),
        measure="share",
        goal=Goal(rule=">=", bound=0.25),
        how=f"{statistics.median(seconds) * 1e3:.3g} ms a step of {flops / 1e9:.0f} GFLOP; "
        f"ceiling {ceiling / 1e12:.3g} TFLOP/s",
    )
    yield from _group_share_rows(options, flops=flops, ceiling=ceiling)


def _group_share_rows(options: Options, *, flops: float, ceiling: float) -> Iterator[Row]:
    """Yield the share that each engine reaches with four wide networks, from whole epochs."""
    network = MLP if options.is_quick else WRN_16_4
    case = Case(
        network=network,
        group_size=4,
        batch_size=None if options.is_quick else 256,
        num_steps=2 if options.is_quick else 3,
        precision="bf16",
    )
    config = members_of(case)[0]
    seconds = time_engines(case, options)
    samples = (config.train_samples or config.batch_size) + _probe_samples(config.batch_size)
    epoch_flops = flops / config.batch_size * samples * case.group_size
    for engine, times in seconds.items():
        yield Row(
            letter="g",
            what=f"{engine}, {case.name}, bf16, whole epochs with their multiplier probe",
            against="measured bf16 matrix ceiling",
            value=median_of([epoch_flops / s / ceiling for s in times]),
            measure="share",
            goal=Goal(rule=">=", bound=0.25) if engine != "sequential" else None,
            how=medians({engine: times}),
        )
    best = min(seconds, key=lambda engine: statistics.median(seconds[engine]))
    yield Row(
        letter="g",
        what=f"fastest engine ({best}), {case.name}, bf16",
        against="4 separate eager bf16 models",
        value=paired_ratio(seconds, "sequential", best),
        measure="times faster",
        goal=Goal(rule=">=", bound=2.0),
        how=medians(seconds),
    )


def _probe_samples(batch_size: int) -> int:
    """Return the samples whose step costs as much as a probe: 7 products each against 3."""
    return round(2 * batch_size * 7 / 3)


def _eager_rows(options: Options) -> Iterator[Row]:
    """Yield one step as this package takes it against fp32 with two passes, as usually written."""
    settings = _wide_network(options)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    sides = {
        "TF32, two passes": (settings, two_pass_step),
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


def _tiny_rows(options: Options) -> Iterator[Row]:
    """Yield every engine on tiny networks, K = 64, against eager training one by one."""
    group_size = 4 if options.is_quick else 64
    for network in (MLP, TINY_CNN, WRN_16_1):
        if options.is_quick and network == WRN_16_1:
            continue
        num_steps = 8 if network == WRN_16_1 else None
        case = Case(network=network, group_size=group_size, num_steps=num_steps)
        seconds = time_engines(case, options)
        goal = None if network == WRN_16_1 else Goal(rule=">=", bound=20.0)
        best = min(seconds, key=lambda engine: statistics.median(seconds[engine]))
        for engine in ENGINES:
            if engine in seconds and engine != "sequential":
                yield Row(
                    letter="g",
                    what=f"{engine}, {case.name}",
                    against=f"{group_size} separate eager models",
                    value=paired_ratio(seconds, "sequential", engine),
                    measure="times faster",
                    goal=goal if engine == best else None,
                    how=medians(seconds),
                )


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
