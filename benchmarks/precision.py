"""Row i: bfloat16 in channels_last layout against float32 on a CPU, in speed and in accuracy.

A CPU gains from bfloat16 where it has AMX tiles; only there is a speed-up asked for. Accuracy is
compared over seeds: the mean difference is to be smaller than the spread between seeds.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.networks import MLP, NETWORKS, SMALL_CNN, WRN_16_4, build_config
from benchmarks.options import Options
from benchmarks.step_time import heads_step, time_sides
from benchmarks.table import Goal, Row
from benchmarks.timing import Ratio, medians, paired_ratio
from rlp_sweeps.training.engines import get_engine

PRECISIONS = ("fp32", "bf16")
_NUM_SEEDS, _NUM_EPOCHS = 10, 10


def measure(options: Options) -> Iterator[Row]:
    """Yield a row on time and one on accuracy."""
    yield _speed_row(options)
    yield _accuracy_row(options)


def has_amx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU multiplies bfloat16 matrices in tiles."""
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    flags = [line for line in text.splitlines() if line.startswith("flags")]
    return any("amx_bf16" in line.split() for line in flags[:1])


def _speed_row(options: Options) -> Row:
    name = MLP if options.is_quick else WRN_16_4
    sides = {p: ({**NETWORKS[name], "precision": p}, heads_step) for p in PRECISIONS}
    seconds = time_sides(sides, options=options)
    is_asked = options.device == "cpu" and has_amx()
    tiles = "with AMX" if has_amx() else "without AMX"
    return Row(
        letter="i",
        what=f"step with heads, bf16 channels_last, {name}",
        against="the same step in fp32",
        value=paired_ratio(seconds, *PRECISIONS),
        measure="times faster",
        goal=Goal(rule=">=", bound=2.0) if is_asked else None,
        how=f"{medians(seconds)}; a CPU {tiles}",
    )


def _accuracy_row(options: Options) -> Row:
    num_seeds, num_epochs = (2, 1) if options.is_quick else (_NUM_SEEDS, _NUM_EPOCHS)
    fp32, bf16 = (
        _accuracies(precision, num_seeds, num_epochs, torch.device(options.device))
        for precision in PRECISIONS
    )
    spread = statistics.stdev(fp32)
    difference = statistics.mean(bf16) - statistics.mean(fp32)
    return Row(
        letter="i",
        what=f"mean test accuracy in bf16, {SMALL_CNN}, {num_epochs} epochs",
        against="in fp32; the goal is the standard deviation over seeds",
        value=Ratio(abs(difference), None, None, num_seeds),
        measure="abs.",
        goal=Goal(rule="<=", bound=float(f"{spread:.2g}")),
        how=f"fp32 {statistics.mean(fp32):.4f}, bf16 {statistics.mean(bf16):.4f}",
    )


def _accuracies(
    precision: str, num_seeds: int, num_epochs: int, device: torch.device
) -> list[float]:
    """Return the test accuracy of every seed after its last epoch."""
    settings = {**NETWORKS[SMALL_CNN], "lr": 0.05, "num_epochs": num_epochs}
    configs = [
        build_config({**settings, "precision": precision, "seed": seed})
        for seed in range(num_seeds)
    ]
    engine = get_engine("sequential")(configs, data_dir="data", device=device)
    outcomes = {}
    for epoch in range(1, num_epochs + 1):
        outcomes = engine.advance(epoch, evaluates=epoch == num_epochs)
    accuracies = [outcomes[config.trial_id].metrics["test_accuracy"] for config in configs]
    return [float(accuracy) for accuracy in accuracies if accuracy is not None]
