"""Time of one training step with heads and regularizer over the bare step without them.

    python -m benchmarks.step_time [--device cpu|cuda] [--rounds N]

Both sides are this project's own code on the same batch: the bare step is backbone, loss, backward
and optimizer; the other adds both heads and the regularizer of the arm `full`. On CUDA the
share of the bf16 matrix ceiling, measured in the same run, is printed for WRN-16-4.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.timing import interleave, paired_ratio
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.losses import smoothed_cross_entropy
from rlp_sweeps.training.member import Member

CASES = {
    "small_cnn, digits, batch 128, K=10, R=10": {
        "dataset": "digits",
        "backbone": "small_cnn",
        "batch_size": 128,
        "num_random_labels": 10,
    },
    "wide_resnet 16-1, 32x32, batch 64, K=100, R=10": {
        "dataset": "synthetic:3,32,32,100,1024",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 1,
        "batch_size": 64,
        "num_random_labels": 10,
    },
    "wide_resnet 16-4, 32x32, batch 32, K=100, R=100": {
        "dataset": "synthetic:3,32,32,100,1024",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "batch_size": 32,
        "num_random_labels": 100,
    },
}


def build_steps(settings: dict[str, object], device: torch.device) -> dict[str, Callable[[], None]]:
    """Return the two sides as callables on one fixed batch, each done when it returns."""
    config = TrialConfig.from_dict(
        {"arm": "full", "lr": 1e-3, "rlp_lambda": 1.0, "seed": 0, **settings}
    )
    data = split_dataset(config, data_dir="", device=device)
    members = {name: Member(config, data, device) for name in ("bare", "heads")}
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def run(step: Callable[[Member, SplitDataset], None], name: str) -> None:
        step(members[name], data)
        wait()

    return {
        "bare": partial(run, bare_step, "bare"),
        "heads": partial(run, heads_step, "heads"),
    }


def bare_step(member: Member, data: SplitDataset) -> None:
    """One step of the backbone alone; its optimizer skips the heads, which have no gradient."""
    logits_NK, _ = member.network(data.train_images_NCHW[: member.config.batch_size])
    labels_N = data.train_labels_N[: member.config.batch_size]
    smoothed_cross_entropy(logits_NK, labels_N, 0.0).backward()
    member.optimizer.step()
    member.optimizer.zero_grad(set_to_none=True)


def heads_step(member: Member, data: SplitDataset) -> None:
    """One step as trained: class loss, both heads, regularizer."""
    batch_size = member.config.batch_size
    logits_NK, features_ND = member.network(data.train_images_NCHW[:batch_size])
    labels_N = data.train_labels_N[:batch_size]
    random_labels_HN = (labels_N % member.config.num_random_labels).expand(2, -1)
    loss = smoothed_cross_entropy(logits_NK, labels_N, 0.0)
    loss = loss + member.network.heads.one_pass_loss(
        features_ND, labels_N, random_labels_HN, ExtractorWeights(1.0, 1.0)
    )
    loss.backward()
    member.optimizer.step()
    member.optimizer.zero_grad(set_to_none=True)


def bf16_ceiling(device: torch.device) -> float:
    """Return the measured rate of an 8192³ bf16 matrix product on random data, in FLOP/s."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(13):
        torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return float(2 * 8192**3 / statistics.median(seconds[3:]))


def print_gpu_share(device: torch.device, num_rounds: int) -> None:
    """Print one bf16 WRN-16-4 step's time and its share of the ceiling (603 GFLOP at batch 256)."""
    settings = {**CASES["wide_resnet 16-4, 32x32, batch 32, K=100, R=100"], "batch_size": 256}
    steps = build_steps({**settings, "precision": "bf16"}, device)
    seconds = interleave(steps, num_rounds=num_rounds, clock=time.perf_counter)
    step_s = statistics.median(seconds["heads"])
    ceiling = bf16_ceiling(device)
    print(
        f"WRN-16-4 bf16 batch 256 with heads: {step_s * 1e3:.2f} ms a step, "
        f"{603e9 / step_s / ceiling:.1%} of the measured {ceiling / 1e12:.0f} TFLOP/s"
    )


def main() -> None:
    """Print one line a case: median ratio with quartiles, and both medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    print(f"torch {torch.__version__}, {device}, 1 thread, {arguments.rounds} rounds")
    for name, settings in CASES.items():
        steps = build_steps(settings, device)
        calls = 20 if "small_cnn" in name else 1
        seconds = interleave(steps, num_rounds=arguments.rounds, calls_per_round=calls, clock=clock)
        ratio, low, high = paired_ratio(seconds, "heads", "bare")
        medians = {side: statistics.median(times) * 1e3 for side, times in seconds.items()}
        print(
            f"{name:52s} heads/bare {ratio:.3f} [{low:.3f}, {high:.3f}]   "
            f"{medians['bare']:.2f} → {medians['heads']:.2f} ms"
        )
    if device.type == "cuda":
        print_gpu_share(device, arguments.rounds)


if __name__ == "__main__":
    main()
