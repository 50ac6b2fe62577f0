"""The class loss `mse`: its definition, what it trains, and what it leaves alone."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.losses import smoothed_squared_error
from rlp_sweeps.training.member import Member

CPU = torch.device("cpu")
CONFIG = TrialConfig(
    arm="control",
    lr=0.3,
    rlp_lambda=0.0,
    seed=0,
    train_samples=200,
    batch_size=20,
    backbone="mlp",
    backbone_width=32,
    num_epochs=8,
    loss="mse",
)


def test_the_squared_error_is_torchs_on_smoothed_one_hot_targets() -> None:
    logits_NK = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    labels_N = torch.tensor([0, 1])

    assert float(smoothed_squared_error(logits_NK, labels_N, 0.0)) == 0.125  # (0 + 0 + ¼ + ¼) / 4
    smoothed_NK = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    expected = F.mse_loss(logits_NK, smoothed_NK)
    torch.testing.assert_close(smoothed_squared_error(logits_NK, labels_N, 0.2), expected)


def test_a_trial_on_squared_error_learns_and_drives_its_scores_to_the_targets() -> None:
    data = split_dataset(CONFIG, data_dir="", device=CPU)
    member = Member(CONFIG, data, CPU)
    losses = [member.train_epoch(epoch) for epoch in range(1, 9)]

    metrics = member.evaluate(8)

    assert losses[-1] < 0.05  # 0.09: the best constant scores, at K = 10
    assert metrics["train_accuracy"] > 0.7
    logits_NK = member.network.eval()(data.train_images_NCHW)[0].detach()
    assert metrics["train_loss"] == pytest.approx(
        float(F.cross_entropy(logits_NK, data.train_labels_N)), rel=1e-6
    )  # columns stay in nats
    assert float(logits_NK.sum(1).mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("engine", ["sequential", "grouped", "vmap"])
def test_a_planted_scale_of_two_measures_two_on_squared_error(engine: str) -> None:
    config = dataclasses.replace(CONFIG, extractor_scale=2.0, num_epochs=1)

    outcome = get_engine(engine)([config], data_dir="", device=CPU).advance(1, evaluates=True)

    assert outcome[config.trial_id].metrics["lr_multiplier"] == pytest.approx(2.0, rel=1e-5)


def test_a_head_without_class_loss_takes_no_squared_error() -> None:
    with pytest.raises(ConfigError, match=r"has no class loss .* but got {'loss': 'mse'}"):
        dataclasses.replace(CONFIG, head="single_output")
