"""Linear discriminant analysis, that of scikit-learn 1.9's default, from one Gram matrix.

scikit-learn decomposes all samples; the eigenvectors of the D × D within-class covariance give the
same classes and take a fraction of its time and memory where there are many samples. Shapes: N
samples, D features, K classes, P directions.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.errors import ProbeError

LEAST_DEVIATION = 1e-4
"""Directions of less standard deviation within classes are left out; scikit-learn's ``tol``."""


class Discriminant(NamedTuple):
    """Gaussians of one covariance, in coordinates in which it is the identity.

    Attributes:
        mean_D: Of all training samples, float64.
        whitening_DP: To the coordinates.
        means_KP: Of the classes; 0 for a class without samples.
        log_priors_K: Logarithm of the classes' shares; −∞ for a class without samples.
    """

    mean_D: Tensor
    whitening_DP: Tensor
    means_KP: Tensor
    log_priors_K: Tensor

    @torch.no_grad()
    def predict(self, features_ND: Tensor) -> Tensor:
        """Return the most probable class, ``[N]``, int64; the lowest of equal ones."""
        values_NP = (features_ND.double() - self.mean_D) @ self.whitening_DP
        offsets_K = self.log_priors_K - self.means_KP.square().sum(1) / 2
        return (values_NP @ self.means_KP.T + offsets_K).argmax(1)


@torch.no_grad()
def fit_discriminant(features_ND: Tensor, labels_N: Tensor, *, num_classes: int) -> Discriminant:
    """Fit Gaussians of one covariance, with the shares of the classes as priors.

    The covariance is that of the greatest likelihood: the mean over all samples, within classes.
    Features that do not vary within classes, and directions that hardly do, are left out.

    Args:
        features_ND: Of the training samples.
        labels_N: Their classes, int64.
        num_classes: K.

    Raises:
        ProbeError: There is one class only, or no class has two samples.
    """
    members_NK = F.one_hot(labels_N, num_classes).double()
    counts_K = members_NK.sum(0)
    num_present, num_samples = int((counts_K > 0).sum()), len(labels_N)
    if not 2 <= num_present < num_samples:
        msg = (
            "`2 <= classes < training samples` must hold for the probe 'lda', but got "
            f"{num_present} class(es) in {num_samples} training samples; leave 'lda' out."
        )
        raise ProbeError(msg)
    values_ND = features_ND.double()
    mean_D = values_ND.mean(0)
    centred_ND = values_ND - mean_D
    means_KD = members_NK.T @ centred_ND / counts_K.clamp(min=1).unsqueeze(1)
    within_ND = centred_ND - means_KD[labels_N]
    deviations_D = within_ND.std(0, correction=0)
    varies_D = deviations_D > 1e-6 * mean_D.abs()  # not by the rounding of float32 alone
    inverse_D = torch.where(varies_D, 1 / deviations_D, torch.zeros_like(deviations_D))
    within_ND *= inverse_D
    covariance_DD = within_ND.T @ within_ND / num_samples
    variances_D, directions_DD = torch.linalg.eigh(covariance_DD)
    is_kept_D = variances_D > LEAST_DEVIATION**2
    directions_DP = directions_DD[:, is_kept_D] / variances_D[is_kept_D].sqrt()
    whitening_DP = inverse_D.unsqueeze(1) * directions_DP
    return Discriminant(
        mean_D=mean_D,
        whitening_DP=whitening_DP,
        means_KP=means_KD @ whitening_DP,
        log_priors_K=(counts_K / num_samples).log(),
    )
