"""Fixed views of training samples: which are shown, and what they are labelled with."""

from typing import Any

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ConfigError, ProbeError
from rlp_sweeps.probes import ProbeOptions, probe_references
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.seed_data import SeedData

CPU = torch.device("cpu")
VIEWED: dict[str, Any] = {"augmentation": "crop", "num_views": 3}
RANDOM: dict[str, Any] = {**VIEWED, "view_labels": "random", "label_corruption": 1.0}


def config_of(**settings: Any) -> TrialConfig:
    base: dict[str, Any] = {"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0}
    return TrialConfig(**{**base, "backbone": "mlp", "batch_size": 50, **settings})


def samples_of(**settings: Any) -> SeedData:
    config = config_of(**settings)
    return SeedData(config, split_dataset(config, data_dir="", device=CPU), CPU)


def shown(samples: SeedData, epoch: int, stream: str = "augment") -> torch.Tensor:
    """The images of an epoch in the order of the training part, ``[N, C, H, W]``."""
    index_N = torch.arange(samples.num_samples)
    draws = samples.draw(index_N, stream, epoch)
    return samples.images(index_N, draws, slice(None))


def test_an_epoch_shows_each_sample_in_its_turn() -> None:
    samples = samples_of(**VIEWED)
    views = samples.data.views
    assert views is not None
    index_N = torch.arange(samples.num_samples)

    turns_EN = torch.stack([views.shown(index_N, epoch) for epoch in (1, 2, 3)])

    assert torch.equal(turns_EN.sort(0).values, torch.arange(3).view(3, 1).expand_as(turns_EN))
    assert turns_EN[0].bincount().min() > 250  # of 999: an epoch shows all views alike often


def test_the_same_views_come_again_after_all_were_shown() -> None:
    samples = samples_of(**VIEWED)

    images = {epoch: shown(samples, epoch) for epoch in (1, 2, 3, 4, 7)}

    assert torch.equal(images[1], images[4])
    assert torch.equal(images[1], images[7])
    assert not torch.equal(images[1], images[2])
    assert torch.equal(shown(samples, 2, "probe"), images[2])


def test_without_views_every_epoch_augments_anew() -> None:
    samples = samples_of(augmentation="crop")

    images = [shown(samples, epoch) for epoch in range(1, 6)]

    assert all(not torch.equal(images[0], later) for later in images[1:])


def test_a_samples_views_do_not_depend_on_which_others_are_trained_on() -> None:
    whole, part = samples_of(**RANDOM), samples_of(**RANDOM, train_samples=100)

    assert torch.equal(shown(whole, 2)[:100], shown(part, 2))
    index_N = torch.arange(100)
    assert torch.equal(whole.labels(index_N, 2), part.labels(index_N, 2))


def test_labels_of_views_are_fixed_and_independent_of_each_other() -> None:
    samples = samples_of(**RANDOM)
    index_N = torch.arange(samples.num_samples)

    labels = {epoch: samples.labels(index_N, epoch) for epoch in (1, 2, 4)}

    assert torch.equal(labels[1], labels[4])
    assert 0.06 < float((labels[1] == labels[2]).double().mean()) < 0.14  # 1/K, n = 999


def test_all_views_have_the_samples_label_where_labels_are_the_same() -> None:
    samples = samples_of(**VIEWED, label_corruption=1.0)
    index_N = torch.arange(samples.num_samples)

    for epoch in (1, 2, 3):
        assert torch.equal(samples.labels(index_N, epoch), samples.data.train_labels_N)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_views": 2}, "`augmentation != 'none'` must hold where num_views >= 1"),
        ({**VIEWED, "view_labels": "random"}, "needs num_views >= 1 and label_corruption > 0"),
        ({"view_labels": "random", "label_corruption": 1.0}, "but got num_views=0"),
    ],
    ids=str,
)
def test_views_that_mean_nothing_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config_of(**settings)


def test_probes_of_trained_labels_need_one_label_a_sample() -> None:
    config = config_of(**RANDOM, train_samples=100)
    data = split_dataset(config, data_dir="", device=CPU)

    rows = probe_references(config, data, options=ProbeOptions(probes=("knn", "class_mean")))

    assert {row.label_set for row in rows} == {"true"}
    with pytest.raises(ProbeError, match="a sample has one for each view; leave them out"):
        probe_references(config, data, options=ProbeOptions(probes=("rlp_offline",)))
