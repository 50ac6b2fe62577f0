import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.arms import ARMS
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.heads import (
    ADVERSARY,
    OBSERVER,
    ExtractorWeights,
    HeadShape,
    RLPHeads,
    head_softmax,
    other_labels_grad,
    scale_gradient,
)
from rlp_sweeps.training.losses import (
    block_mean_terms,
    next_of_class,
    random_label_loss,
    regularizer_terms,
    smoothed_cross_entropy,
)
from rlp_sweeps.training.member import extractor_weights

N, D, K, R = 12, 7, 5, 4
ARM_WEIGHTS = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.3, 2.5)]


def make_heads(
    kind: str = "nested_joint",
    *,
    features: int = D,
    classes: int = K,
    labels: int = R,
    seed: int = 0,
) -> RLPHeads:
    shape = HeadShape.of(kind, num_classes=classes, num_random_labels=labels)
    return RLPHeads(num_features=features, shape=shape, seed=seed)


@pytest.fixture
def heads() -> RLPHeads:
    return make_heads().double()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    features_ND = torch.randn(N, D, dtype=torch.float64, generator=generator).requires_grad_()
    labels_N = torch.randint(K, (N,), generator=generator)
    return features_ND, labels_N, torch.randint(R, (2, N), generator=generator)


def multi_pass_gradients(heads, batch, weights):
    """One backward for the heads' loss on detached features, one for the regularizer alone."""
    features_ND, labels_N, random_labels_HN = batch
    detached_HNKR = heads(features_ND.detach())
    head_loss = sum(
        random_label_loss(detached_HNKR[h], labels_N, random_labels_HN[h]) for h in (0, 1)
    )
    head_grads = torch.autograd.grad(head_loss, [heads.weight_HJD, heads.bias_HJ])
    terms = regularizer_terms(heads(features_ND)[ADVERSARY], labels_N)
    loss = weights.class_term * terms.class_term + weights.uniform_term * terms.uniform_term
    return head_loss, torch.autograd.grad(loss, features_ND)[0], head_grads


def separate_gradient(heads, batch, weights) -> Tensor:
    """The regularizer's gradient on the features by autograd on the definitions."""
    features_ND, labels_N, _ = batch
    logits_NKR = heads(features_ND)[ADVERSARY]
    class_mean, mean_rest = block_mean_terms(logits_NKR, labels_N)
    block_NR = logits_NKR[torch.arange(N), labels_N].detach().requires_grad_()
    (uniform_NR,) = torch.autograd.grad((block_NR.logsumexp(1) - block_NR.mean(1)).mean(), block_NR)
    if weights.permutes_uniform_term:
        uniform_NR = uniform_NR[next_of_class(labels_N)]
    pushed = (logits_NKR[torch.arange(N), labels_N] * uniform_NR).sum()
    loss = (
        weights.class_term * regularizer_terms(logits_NKR, labels_N).class_term
        + weights.uniform_term * pushed
        + weights.class_mean * class_mean
        + weights.mean_rest * mean_rest
    )
    return torch.autograd.grad(loss, features_ND)[0]


@pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if arm.is_regularized])
def test_every_arm_sends_the_gradient_of_its_definition(heads, batch, arm) -> None:
    config = TrialConfig(arm=arm, lr=0.1, rlp_lambda=3.0, seed=0)
    weights = extractor_weights(config)

    heads.one_pass_loss(*batch, weights).backward()

    expected_ND = separate_gradient(heads, batch, weights)
    torch.testing.assert_close(batch[0].grad, expected_ND, rtol=0, atol=1e-12)


def test_the_block_mean_split_sums_to_the_regularizer_and_its_class_part_cannot_move_recall(
    heads, batch
) -> None:
    features_ND, labels_N, _ = batch
    logits_NKR = heads.adversary(features_ND)

    terms = block_mean_terms(logits_NKR, labels_N)
    (grad_NKR,) = torch.autograd.grad(terms.class_term, logits_NKR, retain_graph=True)

    regularizer = sum(regularizer_terms(logits_NKR, labels_N))
    torch.testing.assert_close(sum(terms), regularizer, rtol=0, atol=1e-12)
    assert terms.uniform_term >= math.log(R)
    torch.testing.assert_close(grad_NKR, grad_NKR[:, :, :1].expand_as(grad_NKR), rtol=0, atol=1e-15)


def test_the_next_of_a_class_is_another_sample_of_it_wherever_there_is_one() -> None:
    labels_N = torch.tensor([1, 0, 1, 2, 1, 0])

    following_N = next_of_class(labels_N)

    assert following_N.tolist() == [2, 5, 4, 3, 0, 1]
    assert torch.equal(next_of_class(labels_N.expand(3, -1)), following_N.expand(3, -1))


@pytest.mark.parametrize("arm_weights", ARM_WEIGHTS)
def test_one_pass_gradients_equal_the_multi_pass_reference(heads, batch, arm_weights) -> None:
    weights = ExtractorWeights(*(3.0 * w for w in arm_weights))
    expected_loss, features_grad, head_grads = multi_pass_gradients(heads, batch, weights)

    loss = heads.one_pass_loss(*batch, weights)
    loss.backward()

    torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(batch[0].grad, features_grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(heads.weight_HJD.grad, head_grads[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(heads.bias_HJ.grad, head_grads[1], rtol=0, atol=1e-12)


def test_observers_send_the_features_no_gradient(heads, batch) -> None:
    loss = heads.one_pass_loss(*batch, ExtractorWeights(0.0, 0.0))
    loss.backward()

    assert batch[0].grad is None
    assert heads.weight_HJD.grad.abs().sum() > 0


def test_the_regularizer_reads_the_adversary_alone(heads, batch) -> None:
    weights = ExtractorWeights(1.0, 1.0)
    heads.one_pass_loss(*batch, weights).backward()
    before = batch[0].grad.clone()
    batch[0].grad = None
    with torch.no_grad():
        heads.weight_HJD[OBSERVER] += 1.0

    heads.one_pass_loss(*batch, weights).backward()

    assert torch.equal(batch[0].grad, before)


def test_the_split_sums_to_the_regularizer_and_its_uniform_part_is_at_least_log_r(
    heads, batch
) -> None:
    features_ND, labels_N, _ = batch
    logits_NKR = heads.adversary(features_ND)
    log_p_NKR = logits_NKR.flatten(1).log_softmax(1).view(N, K, R)
    regularizer = -log_p_NKR[torch.arange(N), labels_N].mean()

    terms = regularizer_terms(logits_NKR, labels_N)

    torch.testing.assert_close(sum(terms), regularizer, rtol=0, atol=1e-12)
    assert terms.uniform_term >= math.log(R)


def test_the_uniform_part_is_log_r_where_a_block_is_flat() -> None:
    logits_NKR = torch.zeros(3, K, R, dtype=torch.float64)

    terms = regularizer_terms(logits_NKR, torch.tensor([0, 1, 2]))

    assert terms.uniform_term.item() == pytest.approx(math.log(R), abs=1e-12)
    assert terms.class_term.item() == pytest.approx(math.log(K), abs=1e-12)


def test_the_class_term_pulls_in_proportion_to_the_recall_of_each_random_label(
    heads, batch
) -> None:
    features_ND, labels_N, _ = batch
    logits_NKR = heads.adversary(features_ND).detach().requires_grad_()
    terms = regularizer_terms(logits_NKR, labels_N)
    (grad_NKR,) = torch.autograd.grad(terms.class_term, logits_NKR)

    p_NKR = logits_NKR.flatten(1).softmax(1).view(N, K, R)
    q_NR = logits_NKR[torch.arange(N), labels_N].softmax(1)
    expected_NKR = p_NKR.clone()
    expected_NKR[torch.arange(N), labels_N] -= q_NR

    torch.testing.assert_close(grad_NKR, expected_NKR / N, rtol=0, atol=1e-12)


def test_one_unlearning_step_on_features_lowers_recall_of_the_random_label(heads, batch) -> None:
    features_ND, labels_N, random_labels_HN = batch
    for _ in range(200):  # a head that recalls
        loss = heads.one_pass_loss(*batch, ExtractorWeights(0.0, 0.0))
        grads = torch.autograd.grad(loss, list(heads.parameters()))
        with torch.no_grad():
            heads.weight_HJD -= 0.5 * grads[0]
            heads.bias_HJ -= 0.5 * grads[1]
    heads.one_pass_loss(*batch, ExtractorWeights(0.0, 1.0)).backward()
    moved_ND = (features_ND - 0.1 * features_ND.grad).detach()

    def recall(features) -> Tensor:
        block_NR = heads.adversary(features)[torch.arange(N), labels_N]
        return block_NR.softmax(1)[torch.arange(N), random_labels_HN[ADVERSARY]].mean()

    assert recall(moved_ND) < recall(features_ND)


def test_heads_of_one_seed_start_alike_and_adversary_and_observer_differ() -> None:
    first, second = (make_heads(seed=3) for _ in range(2))

    assert torch.equal(first.weight_HJD, second.weight_HJD)
    assert not torch.equal(first.weight_HJD[ADVERSARY], first.weight_HJD[OBSERVER])


def test_heads_stay_finite_where_the_true_class_has_no_mass() -> None:
    heads = make_heads(features=2, classes=2, labels=2)
    with torch.no_grad():
        heads.weight_HJD.zero_()
        heads.bias_HJ.copy_(torch.tensor([[-300.0, -301.0, 300.0, 301.0]] * 2))
    features_ND = torch.ones(1, 2, requires_grad=True)

    loss = heads.one_pass_loss(
        features_ND, torch.tensor([0]), torch.zeros(2, 1, dtype=torch.int64), ExtractorWeights(1, 1)
    )
    loss.backward()

    assert torch.isfinite(features_ND.grad).all()
    assert torch.isfinite(heads.weight_HJD.grad).all()


def test_scale_gradient_scales_what_flows_back_and_one_changes_nothing() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    scale_gradient(x, 2.0).sum().backward()

    assert torch.equal(x.grad, torch.tensor([2.0, 2.0]))
    assert scale_gradient(x, 1.0) is x


def test_smoothed_cross_entropy_equals_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_NK = torch.randn(6, K, dtype=torch.float64, generator=generator)
    labels_N = torch.tensor([0, 1, 2, 3, 4, 0])
    targets_NK = 0.9 * F.one_hot(labels_N, K).double() + 0.1 / K

    loss = smoothed_cross_entropy(logits_NK, labels_N, 0.1)

    expected = -(targets_NK * logits_NK.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(10, 6), (2, 10, 6), (3, 2, 10, 6)])
def test_the_softmax_of_a_gpu_is_that_of_a_cpu(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits_JN = 20 * torch.randn(shape, dtype=torch.float64, generator=generator)
    targets_1N = torch.randint(10, (*shape[:-2], 1, 6), generator=generator)
    head = HeadShape.of("nested_joint", num_classes=5, num_random_labels=2)
    expected = [*head_softmax(logits_JN, targets_1N, head)]
    expected.append(other_labels_grad(expected[0], logits_JN, targets_1N))

    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    got = [*head_softmax(logits_JN, targets_1N, head)]
    got.append(other_labels_grad(got[0], logits_JN, targets_1N))

    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_gpu_never_takes_a_softmax_over_outputs_that_lie_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("one CUDA thread a sample walks through all outputs")

    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch.Tensor, "softmax", refuse)
    logits_JN, targets_1N = torch.zeros(10, 6), torch.zeros(1, 6, dtype=torch.int64)
    head = HeadShape.of("nested_joint", num_classes=5, num_random_labels=2)

    p_JN, log_norm_N = head_softmax(logits_JN, targets_1N, head)

    other_labels_grad(p_JN, logits_JN, targets_1N)
    assert log_norm_N.tolist() == pytest.approx([math.log(10)] * 6)
