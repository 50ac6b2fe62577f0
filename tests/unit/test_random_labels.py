import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.random_labels import draw_random_labels, random_labels_of


def draw(**options: int) -> torch.Tensor:
    return draw_random_labels(seed=3, pool_size=4_000, num_random_labels=10, **options)


def test_other_draws_are_independent_of_each_other_and_of_every_epoch() -> None:
    drawn = [draw(), draw(draw=1), draw(draw=2), draw(epoch=1), draw(epoch=1, draw=1)]

    shares = [(a == b).double().mean().item() for i, a in enumerate(drawn) for b in drawn[i + 1 :]]
    assert all(abs(share - 0.1) < 0.03 for share in shares)


def test_the_first_draw_is_the_default() -> None:
    assert torch.equal(draw(), draw(draw=0))
    assert torch.equal(draw(epoch=4), draw(epoch=4, draw=0))


def test_a_trials_labels_are_those_of_its_seed_and_draw() -> None:
    config = TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=3, random_label_draw=2)

    assert torch.equal(random_labels_of(config, pool_size=4_000), draw(draw=2))
    assert torch.equal(random_labels_of(config, pool_size=4_000, epoch=5), draw(epoch=5, draw=2))
