"""Heads with a softmax a class, and heads without classes: losses, gradients, trainings."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.heads import ADVERSARY, OBSERVER, ExtractorWeights, HeadShape, RLPHeads
from rlp_sweeps.training.losses import head_terms_per_sample, other_labels_loss
from rlp_sweeps.training.member import extractor_weights

N, D, K, R = 12, 7, 5, 4
CPU = torch.device("cpu")
KINDS = ("nested_per_class", "single")
BASE = TrialConfig(
    arm="full",
    lr=0.05,
    rlp_lambda=2.0,
    seed=1,
    dataset="digits",
    train_samples=64,
    val_samples=16,
    test_samples=16,
    backbone="mlp",
    num_random_labels=3,
    num_epochs=2,
    batch_size=16,
)


@pytest.fixture(autouse=True)
def _one_thread():
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def make_heads(kind: str) -> RLPHeads:
    shape = HeadShape.of(kind, num_classes=K, num_random_labels=R)
    return RLPHeads(num_features=D, shape=shape, seed=0).double()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    features_ND = torch.randn(N, D, dtype=torch.float64, generator=generator).requires_grad_()
    labels_N = torch.randint(K, (N,), generator=generator)
    return features_ND, labels_N, torch.randint(R, (2, N), generator=generator)


def defined_losses(heads: RLPHeads, batch, head: int) -> tuple[Tensor, Tensor]:
    """L_head and L_reg of one head by the papers' formulas, autograd's own."""
    features_ND, labels_N, random_labels_HN = batch
    logits_NBR = heads(features_ND)[head]
    if heads.shape.kind == "single":
        log_p_NR = logits_NBR[:, 0].log_softmax(1)
        hit_N = log_p_NR[torch.arange(N), random_labels_HN[head]]
        return -hit_N.mean(), -torch.log1p(-hit_N.exp()).mean()
    log_q_NR = logits_NBR[torch.arange(N), labels_N].log_softmax(1)
    hit_N = log_q_NR[torch.arange(N), random_labels_HN[head]]
    return -hit_N.mean(), -log_q_NR.mean()


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_sends_heads_and_features_the_gradients_of_their_definitions(kind, batch) -> None:
    heads, weights = make_heads(kind), ExtractorWeights(3.0, 3.0)
    parameters = [heads.weight_HJD, heads.bias_HJ]
    detached = (batch[0].detach(), *batch[1:])
    expected_loss = sum(defined_losses(heads, detached, head)[0] for head in (ADVERSARY, OBSERVER))
    expected_heads = torch.autograd.grad(expected_loss, parameters)
    regularizer = 3.0 * defined_losses(heads, batch, ADVERSARY)[1]
    (expected_features,) = torch.autograd.grad(regularizer, batch[0])

    loss = heads.one_pass_loss(*batch, weights)
    loss.backward()

    torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(batch[0].grad, expected_features, rtol=0, atol=1e-12)
    for parameter, expected in zip(parameters, expected_heads, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_a_regularizer_sum_to_its_definition(kind, batch) -> None:
    heads = make_heads(kind)
    features_ND, labels_N, random_labels_HN = batch

    terms = head_terms_per_sample(
        heads.adversary(features_ND),
        heads.shape.blocks(labels_N),
        random_labels_HN[ADVERSARY],
        kind=kind,
    )

    expected = defined_losses(heads, batch, ADVERSARY)[1]
    torch.testing.assert_close(sum(terms).mean(), expected, rtol=0, atol=1e-12)
    if kind == "nested_per_class":
        assert terms.class_term.eq(0).all()
        assert terms.uniform_term.ge(math.log(R) - 1e-12).all()


def test_a_softmax_a_class_gives_the_class_term_no_gradient_at_all(batch) -> None:
    heads = make_heads("nested_per_class")

    heads.one_pass_loss(*batch, ExtractorWeights(3.0, 0.0)).backward()

    assert batch[0].grad.eq(0).all()


def test_one_extractor_step_on_a_frozen_single_head_lowers_the_random_labels_probability(
    batch,
) -> None:
    heads = make_heads("single")
    features_ND, _, random_labels_HN = batch

    def p_of_label(features_ND: Tensor) -> Tensor:
        p_NR = heads.adversary(features_ND)[:, 0].softmax(1)
        return p_NR[torch.arange(N), random_labels_HN[ADVERSARY]]

    heads.one_pass_loss(*batch, ExtractorWeights(1.0, 1.0)).backward()
    moved_ND = (features_ND - 0.1 * features_ND.grad).detach()

    assert (p_of_label(moved_ND) < p_of_label(features_ND)).all()


def test_at_chance_a_single_heads_regularizer_pulls_at_one_rth_of_its_own_loss() -> None:
    num = 1000
    logits_NR = torch.zeros(1, num, dtype=torch.float64, requires_grad=True)
    target_N = torch.tensor([3])

    (own,) = torch.autograd.grad(F.cross_entropy(logits_NR, target_N), logits_NR)
    (regularizer,) = torch.autograd.grad(other_labels_loss(logits_NR, target_N).mean(), logits_NR)

    assert -regularizer[0, 3] / own[0, 3] == pytest.approx(1 / num, rel=2e-3)


@pytest.mark.parametrize("scale", [40.0, 400.0])
def test_a_single_heads_regularizer_is_finite_where_the_label_is_certain(scale) -> None:
    heads = make_heads("single")
    with torch.no_grad():
        heads.weight_HJD.zero_()
        heads.bias_HJ.zero_()
        heads.bias_HJ[:, 1] = scale
    features_ND = torch.ones(2, D, dtype=torch.float64, requires_grad=True)
    labels_HN = torch.ones(2, 2, dtype=torch.int64)

    loss_N = other_labels_loss(heads.adversary(features_ND)[:, 0], labels_HN[0])
    heads.one_pass_loss(features_ND, labels_HN[0], labels_HN, ExtractorWeights(1, 1)).backward()

    assert loss_N.tolist() == pytest.approx([scale - math.log(R - 1)] * 2)
    assert torch.isfinite(features_ND.grad).all()


def members(kind: str) -> list[TrialConfig]:
    arms = ("control", "full", "sham", "uniform_term", "class_term")
    allowed = arms if kind == "nested_per_class" else arms[:3]
    base = dataclasses.replace(BASE, head=kind)
    return [dataclasses.replace(base, arm=a, rlp_lambda=2.0 * (a != "control")) for a in allowed]


def train(engine: str, configs: list[TrialConfig], epochs: int = 2):
    group = get_engine(engine)(configs, data_dir="", device=CPU)
    for epoch in range(1, epochs + 1):
        outcomes = group.advance(epoch, evaluates=True)
    assert not [o.error for o in outcomes.values() if o.error]
    return {c.arm: outcomes[c.trial_id] for c in configs}


@pytest.mark.parametrize("engine", ["grouped", "vmap"])
@pytest.mark.parametrize("kind", KINDS)
def test_members_of_a_group_follow_themselves_alone(kind, engine) -> None:
    alone, together = train("sequential", members(kind)), train(engine, members(kind))

    for arm, outcome in together.items():
        assert outcome.step_loss == pytest.approx(alone[arm].step_loss, rel=1e-4)
        for name, value in outcome.metrics.items():
            expected = alone[arm].metrics[name]
            assert value == (None if expected is None else pytest.approx(expected, 5e-3, 5e-3)), (
                name
            )


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_with_a_softmax_a_class_class_term_trains_as_control_and_uniform_term_as_full(
    engine,
) -> None:
    trained = train(engine, members("nested_per_class"))

    for one, other in (("class_term", "control"), ("uniform_term", "full")):
        left, right = (trained[arm].metrics for arm in (one, other))
        for name in ("test_loss", "train_loss", "random_label_accuracy", "head_loss"):
            assert left[name] == right[name], name
    assert trained["full"].metrics["test_loss"] != trained["control"].metrics["test_loss"]


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_a_single_head_has_a_regularizer_and_a_multiplier_but_no_terms(engine) -> None:
    metrics = train(engine, members("single"))["full"].metrics

    missing = {name for name, value in metrics.items() if value is None}
    assert missing == {
        "changed_label_accuracy",  # no label was changed
        "regularizer_class_term",
        "regularizer_uniform_term",
        "class_term_grad_dot",
        "uniform_term_grad_dot",
        "lr_multiplier_class_term",
        "lr_multiplier_uniform_term",
    }
    assert metrics["regularizer_loss"] > 0
    assert metrics["lr_multiplier"] != 1


def test_lambda_0_is_a_pure_observer_whatever_the_head() -> None:
    controls = {
        kind: dataclasses.replace(BASE, head=kind, arm="control", rlp_lambda=0.0)
        for kind in ("nested_joint", *KINDS)
    }

    found = {kind: train("sequential", [c])["control"].metrics for kind, c in controls.items()}

    losses = {metrics["test_loss"] for metrics in found.values()}
    assert len(losses) == 1
    assert len({metrics["head_loss"] for metrics in found.values()}) == 3


@pytest.mark.parametrize(
    ("kind", "arm"),
    [
        ("single", "class_term"),
        ("single", "uniform_term"),
        ("single", "sham_norm"),
        ("nested_per_class", "class_mean"),
    ],
)
def test_an_arm_that_needs_a_split_is_refused_where_there_is_none(kind, arm) -> None:
    with pytest.raises(
        ConfigError, match=f"head {kind!r} has no split that arm {arm!r} needs; its"
    ):
        dataclasses.replace(BASE, head=kind, arm=arm)


def test_projection_arms_take_any_head() -> None:
    configs = [
        dataclasses.replace(BASE, head="single", arm=arm) for arm in ("orthogonal", "grafted")
    ]

    trained = train("grouped", configs)

    assert extractor_weights(configs[0]).projection == "orthogonal"
    assert trained["orthogonal"].metrics["test_loss"] != trained["grafted"].metrics["test_loss"]
