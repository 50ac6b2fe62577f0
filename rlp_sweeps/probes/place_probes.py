"""All probes of the features of one place: an attach point of one network, pixels, or chance.

Shapes: N samples, D features, K classes.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlp_sweeps.probes.class_mean import fit_class_means
from rlp_sweeps.probes.features import Pooling, SplitFeatures
from rlp_sweeps.probes.knn import classify_by_neighbours
from rlp_sweeps.probes.lda import fit_discriminant
from rlp_sweeps.probes.linear_probe import fit_linear_probe
from rlp_sweeps.probes.masc import fit_class_subspaces
from rlp_sweeps.probes.offline_head import fit_offline_head
from rlp_sweeps.probes.rows import PROBES, LabelSet, ProbeRow, Source
from rlp_sweeps.training.heads import HeadShape
from rlp_sweeps.training.losses import memorization


class Samples(NamedTuple):
    """What the samples of a trial are labelled with, N of each split, and its head's kind.

    Attributes:
        has_one_label: Whether all views of a training sample were trained on the same label.
        head: One of ``head_kinds.HEADS``.
    """

    labels_N: Tensor
    true_labels_N: Tensor
    random_labels_N: Tensor
    val_labels_N: Tensor
    test_labels_N: Tensor
    num_classes: int
    num_random_labels: int
    head: str
    has_one_label: bool = True

    @property
    def head_shape(self) -> HeadShape:
        """Form of the RLP heads."""
        return HeadShape.of(
            self.head, num_classes=self.num_classes, num_random_labels=self.num_random_labels
        )


class Place(NamedTuple):
    """Where features were read; see ``schema.PROBES``."""

    source: Source
    attach_point: str
    layer: int
    pooling: Pooling


def probe_place(
    features: SplitFeatures, samples: Samples, place: Place, probes: tuple[str, ...]
) -> list[ProbeRow]:
    """Return the rows of one place, in the order of `PROBES`.

    Args:
        features: What was read there.
        samples: Their labels.
        place: Written into the rows.
        probes: Out of `PROBES`; ``rlp_online`` belongs to a network and is passed over.

    Raises:
        ProbeError: A probe cannot be fitted to these samples.
    """
    rows: list[ProbeRow] = []
    for probe in PROBES:
        if probe not in probes or probe == "rlp_online":
            continue
        if probe == "rlp_offline":
            rows.append(offline_row(features, samples, place))
        elif probe == "knn":
            rows.append(_neighbours_row(features, samples, place))
        else:
            rows += _class_rows(probe, features, samples, place)
    return rows


def offline_row(features: SplitFeatures, samples: Samples, place: Place) -> ProbeRow:
    """Return the row of a fresh RLP head at its optimum."""
    start = time.perf_counter()
    head = fit_offline_head(
        features.train_ND,
        samples.labels_N,
        samples.random_labels_N,
        shape=samples.head_shape,
    )
    accuracy = head.accuracy(features.train_ND, samples.labels_N, samples.random_labels_N)
    return make_row(
        features,
        samples,
        place,
        probe="rlp_offline",
        label_set="random",
        train_accuracy=accuracy,
        probe_loss=head.fit.loss,
        converged=head.fit.converged,
        num_iterations=head.fit.num_iterations,
        max_gradient=head.fit.max_gradient,
        probe_time_s=time.perf_counter() - start,
    )


def _neighbours_row(features: SplitFeatures, samples: Samples, place: Place) -> ProbeRow:
    """Return the row of kNN; a training sample is its own neighbour, so that they have none."""
    start = time.perf_counter()
    val_N, test_N = (
        classify_by_neighbours(
            features.train_ND, samples.true_labels_N, queries_ND, num_classes=samples.num_classes
        )
        for queries_ND in (features.val_ND, features.test_ND)
    )
    return make_row(
        features,
        samples,
        place,
        probe="knn",
        label_set="true",
        val_accuracy=share_of(val_N, samples.val_labels_N),
        test_accuracy=share_of(test_N, samples.test_labels_N),
        probe_time_s=time.perf_counter() - start,
    )


def _class_rows(
    probe: str, features: SplitFeatures, samples: Samples, place: Place
) -> Iterator[ProbeRow]:
    """Yield the row of a class probe for both label sets; fitted once where they are the same.

    Where views have labels of their own, a sample has none that it was trained on.
    """
    if not samples.has_one_label:
        yield _class_row(probe, features, samples, place, "true")
        return
    is_same = torch.equal(samples.labels_N, samples.true_labels_N)
    trained = _class_row(probe, features, samples, place, "trained")
    yield trained
    yield (
        replace(trained, label_set="true")
        if is_same
        else _class_row(probe, features, samples, place, "true")
    )


def _class_row(
    probe: str, features: SplitFeatures, samples: Samples, place: Place, label_set: LabelSet
) -> ProbeRow:
    start = time.perf_counter()
    labels_N = samples.labels_N if label_set == "trained" else samples.true_labels_N
    predict, columns = _FITS[probe](features, labels_N, samples)
    return make_row(
        features,
        samples,
        place,
        probe=probe,
        label_set=label_set,
        train_accuracy=share_of(predict(features.train_ND), samples.true_labels_N),
        val_accuracy=share_of(predict(features.val_ND), samples.val_labels_N),
        test_accuracy=share_of(predict(features.test_ND), samples.test_labels_N),
        **columns,
        probe_time_s=time.perf_counter() - start,
    )


_Fitted = tuple[Callable[[Tensor], Tensor], dict[str, Any]]


def _fit_masc(features: SplitFeatures, labels_N: Tensor, samples: Samples) -> _Fitted:
    fit = fit_class_subspaces(features.train_ND, labels_N, num_classes=samples.num_classes)
    return fit.predict, {"mean_num_components": fit.mean_num_components}


def _fit_means(features: SplitFeatures, labels_N: Tensor, samples: Samples) -> _Fitted:
    fit = fit_class_means(features.train_ND, labels_N, num_classes=samples.num_classes)
    return fit.predict, {}


def _fit_lda(features: SplitFeatures, labels_N: Tensor, samples: Samples) -> _Fitted:
    fit = fit_discriminant(features.train_ND, labels_N, num_classes=samples.num_classes)
    return fit.predict, {}


def _fit_linear(features: SplitFeatures, labels_N: Tensor, samples: Samples) -> _Fitted:
    found = fit_linear_probe(
        features, labels_N, samples.val_labels_N, num_classes=samples.num_classes
    )
    return found.predict, {
        "probe_loss": found.fit.loss,
        "converged": found.fit.converged,
        "num_iterations": found.fit.num_iterations,
        "max_gradient": found.fit.max_gradient,
        "inverse_penalty": found.inverse_penalty,
    }


_FITS: Mapping[str, Callable[[SplitFeatures, Tensor, Samples], _Fitted]] = {
    "masc": _fit_masc,
    "class_mean": _fit_means,
    "lda": _fit_lda,
    "linear": _fit_linear,
}


def share_of(predicted_N: Tensor, labels_N: Tensor) -> float:
    """Return the share of samples whose label was predicted."""
    return float((predicted_N == labels_N).double().mean())


def make_row(
    features: SplitFeatures,
    samples: Samples,
    place: Place,
    *,
    probe: str,
    label_set: LabelSet,
    **columns: Any,
) -> ProbeRow:
    """Return a row with all that a place and its samples say.

    Args:
        features: What was read.
        samples: Their labels.
        place: Where.
        probe: Out of `PROBES`.
        label_set: What it was fitted to; memorization is told for random labels.
        columns: What the probe found, by name.
    """
    is_random = label_set == "random"
    num_labels = samples.num_random_labels if is_random else samples.num_classes
    if is_random:
        columns["memorization"] = memorization(columns["train_accuracy"], num_labels)
    return ProbeRow(
        **place._asdict(),
        probe=probe,
        label_set=label_set,
        num_features=features.num_features,
        num_train_samples=len(samples.labels_N),
        num_val_samples=len(samples.val_labels_N),
        num_test_samples=len(samples.test_labels_N),
        chance_accuracy=1 / num_labels,
        **columns,
    )
