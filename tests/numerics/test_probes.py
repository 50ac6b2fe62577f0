"""Probes against other programs, brute force and known answers."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from rlp_sweeps.errors import ProbeError
from rlp_sweeps.probes import ProbeRow, best_layer
from rlp_sweeps.probes.class_mean import fit_class_means
from rlp_sweeps.probes.features import SplitFeatures
from rlp_sweeps.probes.knn import classify_by_neighbours
from rlp_sweeps.probes.lda import fit_discriminant
from rlp_sweeps.probes.linear_probe import INVERSE_PENALTIES, fit_linear_probe
from rlp_sweeps.probes.masc import fit_class_subspaces
from rlp_sweeps.probes.offline_head import fit_offline_head
from rlp_sweeps.probes.softmax_regression import fit_softmax
from rlp_sweeps.training.heads import HeadShape

K, R = 3, 4


def shape_of(kind: str) -> HeadShape:
    return HeadShape.of(kind, num_classes=K, num_random_labels=R)


JOINT = shape_of("nested_joint")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blobs(num: int, *, spread: float = 1.0, seed: int = 0, dim: int = 6) -> tuple[Tensor, Tensor]:
    """Return samples of K Gaussians whose means are 4 along an axis each, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (num,), generator=generator)
    noise = torch.randn(num, dim, generator=generator, dtype=torch.float64)
    return 4 * torch.eye(K, dim, dtype=torch.float64)[labels] + spread * noise, labels


def draw(num: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return Gaussian features, and classes and random labels that are independent of them."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num, dim, generator=generator)
    labels, random_labels = (torch.randint(n, (num,), generator=generator) for n in (K, R))
    return features, labels, random_labels


def recall(num: int, dim: int, **options: float) -> float:
    features, labels, random_labels = draw(num, dim)
    head = fit_offline_head(features, labels, random_labels, shape=JOINT, **options)
    assert head.fit.converged
    return head.accuracy(features, labels, random_labels)


# --- random labels ----------------------------------------------------------------------------


@pytest.mark.parametrize(("num", "dim"), [(60, 60), (60, 200)])
def test_an_offline_head_recalls_everything_where_features_are_as_many_as_samples(num, dim) -> None:
    assert recall(num, dim) == 1.0


def test_an_offline_head_recalls_next_to_nothing_from_one_gaussian_feature() -> None:
    found = recall(3000, 1)

    assert 1 / R < found < 1 / R + 0.05


def test_a_tighter_tolerance_moves_the_offline_recall_by_half_a_point_at_most() -> None:
    assert recall(600, 12) == pytest.approx(recall(600, 12, tolerance=1e-6), abs=0.005)


def test_an_offline_head_is_a_nested_joint_head_at_the_minimum_of_its_loss() -> None:
    features, labels, random_labels = draw(400, 5)
    fit = fit_offline_head(features, labels, random_labels, shape=JOINT, tolerance=1e-8).fit
    weight, bias = fit.weight_JD.clone().requires_grad_(), fit.bias_J.clone().requires_grad_()

    logits = features.double() @ weight.T + bias
    loss = torch.nn.functional.cross_entropy(logits, labels * R + random_labels)
    loss.backward()

    assert loss.item() == pytest.approx(fit.loss, abs=1e-12)
    assert float(weight.grad.abs().max()) < 1e-7
    assert float(bias.grad.abs().max()) < 1e-7


def test_a_single_offline_head_is_the_logistic_regression_of_scikit_learn() -> None:
    features, labels, random_labels = draw(400, 5)

    head = fit_offline_head(
        features, labels, random_labels, shape=shape_of("single"), tolerance=1e-8
    )

    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(features, random_labels)
    assert head.fit.loss == pytest.approx(log_loss(random_labels, model.predict_proba(features)))
    assert head.accuracy(features, labels, random_labels) == model.score(features, random_labels)


def test_an_offline_head_with_a_softmax_a_class_is_one_regression_for_each_class() -> None:
    features, labels, random_labels = draw(400, 5)
    labels[labels == 1] = 2  # a class without samples

    head = fit_offline_head(
        features, labels, random_labels, shape=shape_of("nested_per_class"), tolerance=1e-8
    )

    losses, hits = [], 0
    for label in (0, 2):
        inputs, targets = features[labels == label], random_labels[labels == label]
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(inputs, targets)
        losses.append(len(inputs) / 400 * log_loss(targets, model.predict_proba(inputs)))
        hits += int((model.predict(inputs) == targets.numpy()).sum())
    assert head.fit.loss == pytest.approx(sum(losses))
    assert head.accuracy(features, labels, random_labels) == hits / 400
    assert head.fit.converged


def test_an_offline_head_says_when_it_has_not_converged() -> None:
    features, labels, random_labels = draw(400, 5)

    fit = fit_offline_head(features, labels, random_labels, shape=JOINT, max_iterations=2).fit

    assert (fit.converged, fit.num_iterations) == (False, 2)


def test_features_that_do_not_vary_change_no_fit() -> None:
    features, labels, _ = draw(200, 4)
    padded = torch.cat([features, torch.full((200, 2), 7.3)], dim=1)

    fits = [fit_softmax(x, labels, num_outputs=K, tolerance=1e-8) for x in (features, padded)]

    assert fits[0].loss == pytest.approx(fits[1].loss, abs=1e-9)
    assert fit_softmax(torch.zeros(200, 2), labels, num_outputs=K).converged


# --- classes ----------------------------------------------------------------------------------


def test_knn_votes_as_scikit_learn_does_with_cosines() -> None:
    train, labels = blobs(300, spread=2.5)
    queries, _ = blobs(200, spread=2.5, seed=1)

    model = KNeighborsClassifier(n_neighbors=20, metric="cosine", algorithm="brute")
    expected = model.fit(train.numpy(), labels.numpy()).predict(queries.numpy())

    found = classify_by_neighbours(train, labels, queries, num_classes=K)
    assert np.array_equal(found.numpy(), expected)


def test_knn_breaks_ties_by_the_lower_index_and_the_lower_class() -> None:
    train = torch.ones(6, 2)
    labels = torch.tensor([2, 1, 1, 2, 0, 0])

    def vote(num_neighbours: int) -> int:
        queries = torch.ones(1, 2)
        found = classify_by_neighbours(
            train, labels, queries, num_classes=K, num_neighbours=num_neighbours
        )
        return int(found)

    assert [vote(n) for n in (1, 2, 3, 4, 6)] == [2, 1, 1, 1, 0]


def test_a_class_without_samples_is_never_predicted() -> None:
    train, labels = blobs(300, spread=0.1)
    labels[labels == 1] = 2
    queries, _ = blobs(200, spread=0.1, seed=1)

    found = [
        classify_by_neighbours(train, labels, queries, num_classes=K),
        fit_class_means(train, labels, num_classes=K).predict(queries),
        fit_discriminant(train, labels, num_classes=K).predict(queries),
        fit_class_subspaces(train, labels, num_classes=K).predict(queries),
        fit_softmax(train, labels, num_outputs=K, penalty=0.01).predict(queries),
    ]

    assert all(set(classes.tolist()) == {0, 2} for classes in found)


def test_knn_needs_as_many_samples_as_neighbours() -> None:
    train, labels = blobs(19)

    with pytest.raises(ProbeError, match=r"neighbours <= training samples.* got 20 .* of 19"):
        classify_by_neighbours(train, labels, train, num_classes=K)


@pytest.mark.parametrize(
    ("dim", "spread"), [(8, 0.2), (40, 1.5), (200, 1.5)], ids=["tall", "middle", "wide"]
)
def test_masc_predicts_the_class_of_the_least_angle(dim: int, spread: float) -> None:
    train, labels = blobs(120, dim=dim, spread=spread)
    queries, _ = blobs(50, dim=dim, spread=1.5, seed=1)
    subspaces = fit_class_subspaces(train, labels, num_classes=K)

    angles = []
    for label in range(K):
        members = train[labels == label].numpy()
        _, singular, directions = np.linalg.svd(members, full_matrices=False)
        shares = np.cumsum(singular**2) / np.sum(singular**2)
        basis = directions[: int(np.sum(shares <= 0.99)) + 1].T
        assert len(subspaces.directions[label]) == basis.shape[1]
        nearest = basis @ np.linalg.lstsq(basis, queries.numpy().T, rcond=None)[0]
        cosines = np.linalg.norm(nearest, axis=0) / np.linalg.norm(queries.numpy(), axis=1)
        angles.append(np.arccos(np.clip(cosines, 0, 1)))

    assert np.array_equal(subspaces.predict(queries).numpy(), np.argmin(angles, axis=0))


def test_masc_is_level_between_classes_that_fill_the_space() -> None:
    train, labels = blobs(60, dim=3, spread=5.0)

    subspaces = fit_class_subspaces(train, labels, num_classes=K)

    assert subspaces.mean_num_components == 3
    assert subspaces.predict(train).unique().tolist() == [0]


def test_masc_gives_a_class_without_samples_no_subspace() -> None:
    train, labels = blobs(60, spread=0.1)

    subspaces = fit_class_subspaces(train, labels, num_classes=K + 1)

    assert len(subspaces.directions[K]) == 0
    assert int(subspaces.predict(train).max()) < K


@pytest.mark.parametrize("fit", ["class_mean", "lda", "masc"])
def test_probes_of_far_gaussians_hit_every_sample(fit: str) -> None:
    train, labels = blobs(300, spread=0.1)
    queries, truth = blobs(200, spread=0.1, seed=1)

    probe = {
        "class_mean": lambda: fit_class_means(train, labels, num_classes=K),
        "lda": lambda: fit_discriminant(train, labels, num_classes=K),
        "masc": lambda: fit_class_subspaces(train, labels, num_classes=K),
    }[fit]()

    assert torch.equal(probe.predict(queries), truth)


def test_class_means_are_those_of_the_classes_and_need_all_of_them_not() -> None:
    train = torch.tensor([[0.0], [2.0], [10.0]])
    labels = torch.tensor([0, 0, 2])

    means = fit_class_means(train, labels, num_classes=3)

    assert means.means_KD.flatten().tolist()[::2] == [1.0, 10.0]
    assert means.predict(torch.tensor([[5.4], [5.6]])).tolist() == [0, 2]


def test_lda_finds_what_means_miss_under_one_wide_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (2000,), generator=generator)
    noise = torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    features = noise * torch.tensor([0.2, 20.0]) + labels.unsqueeze(1) * torch.tensor([1.0, 0.0])

    by_lda = (
        (fit_discriminant(features, labels, num_classes=2).predict(features) == labels)
        .double()
        .mean()
    )
    by_mean = fit_class_means(features, labels, num_classes=2).predict(features) == labels

    assert float(by_lda) == pytest.approx(0.9938, abs=0.005)  # Φ(2.5)
    assert float(by_mean.double().mean()) < 0.75


@pytest.mark.filterwarnings("ignore:Variables are collinear")
@pytest.mark.parametrize("dim", [3, 30, 90], ids=["few", "many", "more-than-samples"])
def test_lda_predicts_what_scikit_learn_does(dim: int) -> None:
    train, labels = blobs(80, dim=dim, spread=3.0)
    mixing = torch.randn(dim, dim + 2, generator=torch.Generator().manual_seed(2)).double()
    train, queries = train @ mixing, blobs(300, dim=dim, spread=3.0, seed=1)[0] @ mixing

    expected = LinearDiscriminantAnalysis().fit(train.numpy(), labels.numpy())

    found = fit_discriminant(train, labels, num_classes=K).predict(queries)
    assert np.array_equal(found.numpy(), expected.predict(queries.numpy()))


def test_lda_takes_features_that_do_not_vary_and_refuses_one_class() -> None:
    train, labels = blobs(90)
    padded = torch.cat([train, torch.ones(90, 2)], dim=1)

    assert torch.equal(
        fit_discriminant(padded, labels, num_classes=K).predict(padded),
        fit_discriminant(train, labels, num_classes=K + 2).predict(train),
    )
    with pytest.raises(ProbeError, match=r"2 <= classes < training samples"):
        fit_discriminant(train, torch.zeros_like(labels), num_classes=K)


def test_the_linear_probe_is_scikit_learns_on_standardized_features() -> None:
    train, labels = blobs(200, spread=3.0)
    scaled = (train - train.mean(0)) / train.std(0, correction=0)
    expected = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(
        scaled.numpy(), labels.numpy()
    )

    fit = fit_softmax(train, labels, num_outputs=K, penalty=1 / (0.5 * 200), tolerance=1e-9)

    odds = torch.from_numpy(expected.predict_log_proba(scaled.numpy()))
    assert torch.allclose(fit.logits(train).log_softmax(1), odds, atol=1e-5)


def test_the_linear_probe_takes_the_least_c_that_validates_best_and_never_reads_test() -> None:
    train, labels = blobs(200, spread=1.8)
    val, val_labels = blobs(50, spread=1.8, seed=1)
    features = SplitFeatures(train, val, torch.full((9, 6), torch.nan, dtype=torch.float64))

    probe = fit_linear_probe(features, labels, val_labels, num_classes=K)

    accuracies = {}
    for c in INVERSE_PENALTIES:
        fit = fit_softmax(train, labels, num_outputs=K, penalty=1 / (c * 200))
        accuracies[c] = float((fit.predict(val) == val_labels).double().mean())
    assert probe.inverse_penalty == max(accuracies, key=lambda c: accuracies[c])
    assert len(set(accuracies.values())) > 1


# --- the layer --------------------------------------------------------------------------------


def row(layer: int, val: float | None, test: float, **changes: object) -> ProbeRow:
    values = {"source": "trained", "probe": "knn", "label_set": "true", "pooling": "average"}
    counts = dict.fromkeys(
        ("num_features", "num_train_samples", "num_val_samples", "num_test_samples"), 1
    )
    return ProbeRow(
        attach_point=f"conv{layer}",
        layer=layer,
        chance_accuracy=0.1,
        val_accuracy=val,
        test_accuracy=test,
        **{**values, **counts, **changes},
    )


def test_the_layer_is_that_which_validates_best_whatever_it_tests() -> None:
    rows = [row(1, 0.5, 0.9), row(2, 0.8, 0.1), row(3, 0.8, 1.0), row(4, 0.9, 1.0, probe="lda")]

    assert best_layer(rows, probe="knn", label_set="true").layer == 2


def test_a_layer_cannot_be_chosen_for_random_labels() -> None:
    rows = [row(1, None, 0.5, probe="rlp_offline", label_set="random")]

    with pytest.raises(ProbeError, match="chosen by validation accuracy, but there is none"):
        best_layer(rows, probe="rlp_offline", label_set="random")
