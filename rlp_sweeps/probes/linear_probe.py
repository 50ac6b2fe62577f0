"""A linear probe of the classes: multinomial logistic regression, its ridge chosen on validation.

Shapes: N samples, D features.
"""

from typing import NamedTuple

from torch import Tensor

from rlp_sweeps.probes.features import SplitFeatures
from rlp_sweeps.probes.softmax_regression import SoftmaxFit, fit_softmax

INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried; scikit-learn's C, on standardized features."""


class LinearProbe(NamedTuple):
    """The fit that validated best.

    Attributes:
        fit: The regression.
        inverse_penalty: Its C.
    """

    fit: SoftmaxFit
    inverse_penalty: float

    def predict(self, features_ND: Tensor) -> Tensor:
        """Return the predicted classes, ``[N]``, int64."""
        return self.fit.predict(features_ND)


def fit_linear_probe(
    features: SplitFeatures,
    train_labels_N: Tensor,
    val_labels_N: Tensor,
    *,
    num_classes: int,
    inverse_penalties: tuple[float, ...] = INVERSE_PENALTIES,
) -> LinearProbe:
    """Fit the training samples under each C; keep the one that validates best, the least of equal.

    Args:
        features: Of training and validation samples; those of the test samples are not read.
        train_labels_N: Class indices to fit, int64.
        val_labels_N: True class indices, int64.
        num_classes: K.
        inverse_penalties: C to try, ascending: the objective is the summed cross-entropy times C
            plus half the squared norm of the weights.
    """
    best: LinearProbe | None = None
    best_accuracy = -1.0
    fit: SoftmaxFit | None = None
    for inverse_penalty in inverse_penalties:
        fit = fit_softmax(
            features.train_ND,
            train_labels_N,
            num_outputs=num_classes,
            penalty=1.0 / (inverse_penalty * len(train_labels_N)),
            start=fit,
        )
        accuracy = float((fit.predict(features.val_ND) == val_labels_N).double().mean())
        if accuracy > best_accuracy:
            best, best_accuracy = LinearProbe(fit, inverse_penalty), accuracy
    assert best is not None, "there must be a C to try"
    return best
