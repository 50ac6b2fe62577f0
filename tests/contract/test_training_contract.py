"""Every backbone, on every shape of image, learns under every arm."""

import pytest
import torch

from rlp_sweeps.arms import ARMS
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.backbones import BACKBONES
from rlp_sweeps.training.batch import Batch
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.losses import smoothed_cross_entropy
from rlp_sweeps.training.member import Member

SHAPES = ["1,8,8", "1,28,28", "3,32,32"]
SMALL = {"wide_resnet": (10, 1), "vit": (2, None)}
BATCH = 16


def build_member(backbone: str, shape: str, arm: str, **settings: object) -> Member:
    depth, width = SMALL.get(backbone, (None, None))
    config = TrialConfig.from_dict(
        {
            "arm": arm,
            "lr": 1e-3,
            "rlp_lambda": 0.0 if arm == "control" else 1.0,
            "seed": 0,
            "dataset": f"synthetic:{shape},10,64",
            "backbone": backbone,
            "backbone_depth": depth,
            "backbone_width": width,
            "batch_size": BATCH,
            "optimizer": "adamw",
            "num_random_labels": 3,
            "val_samples": 8,
            **settings,
        }
    )
    device = torch.device("cpu")
    return Member(config, split_dataset(config, data_dir="", device=device), device)


def fixed_batch_loss(member: Member) -> float:
    with torch.no_grad():
        logits_NK, _ = member.network(member.data.train_images_NCHW[:BATCH])
    return smoothed_cross_entropy(logits_NK, member.data.train_labels_N[:BATCH], 0.0).item()


def train_on_fixed_batch(member: Member, num_steps: int) -> None:
    for _ in range(num_steps):
        member._train_step(
            Batch(
                member.data.train_images_NCHW[:BATCH],
                member.data.train_labels_N[:BATCH],
                member.random_labels(1)[:, :BATCH],
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("arm", sorted(n for n, arm in ARMS.items() if arm.matched_to is None))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_lowers_its_loss_on_a_fixed_batch(
    backbone: str, shape: str, arm: str
) -> None:
    member = build_member(backbone, shape, arm)
    before = fixed_batch_loss(member)

    train_on_fixed_batch(member, 4)

    assert fixed_batch_loss(member) < before


@pytest.mark.slow
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_trains_in_bf16_with_dropout(backbone: str) -> None:
    member = build_member(backbone, "3,32,32", "full", precision="bf16", dropout=0.1)
    before = fixed_batch_loss(member)

    train_on_fixed_batch(member, 4)

    assert fixed_batch_loss(member) < before


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_evaluates_with_all_metrics_finite(backbone: str) -> None:
    member = build_member(backbone, "1,8,8", "full")
    member.train_epoch(1)

    metrics = member.evaluate(1)

    measured = {name: value for name, value in metrics.items() if "lr" not in name}
    assert measured.pop("changed_label_accuracy") is None  # no label is changed
    assert all(value is not None and abs(value) < 1e6 for value in measured.values())
