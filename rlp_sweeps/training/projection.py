"""Projection arms: how the gradients of L_class and L_reg meet on the extractor's parameters.

They need nothing of the regularizer but its gradient, and so work where it has no exact split. Both
combinations are linear in the two gradients, with factors made of three inner products.
Source: docs/method.md, section 3.

Shapes: P tensors (one a parameter), M members where several train as one program.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlp_sweeps.arms import Projection
from rlp_sweeps.training.losses import dot

Dot = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""Inner product of two gradients, float64: ``[]``, or ``[M]`` where members are stacked."""


class GradientWeights(NamedTuple):
    """Factors on ∇L_class and on what the regularizer sends, λ included; ``[]`` or ``[M]``."""

    class_loss: Tensor
    regularizer: Tensor


class InnerProducts(NamedTuple):
    """⟨g_c, g_c⟩, ⟨g_c, g_r⟩ and ⟨g_r, g_r⟩ over all parameters, float64, ``[]`` or ``[M]``."""

    class_class: Tensor
    class_regularizer: Tensor
    regularizer_regularizer: Tensor


Weigh = Callable[[Sequence[Tensor], Sequence[Tensor]], GradientWeights]
"""Makes the factors of ∇L_class and of what the regularizer sends."""


def inner_products(
    class_grad: Sequence[Tensor], regularizer_grad: Sequence[Tensor], *, dot: Dot
) -> InnerProducts:
    """Return the products that the weights are made of."""
    return InnerProducts(
        dot(class_grad, class_grad),
        dot(class_grad, regularizer_grad),
        dot(regularizer_grad, regularizer_grad),
    )


def gradient_weights(products: InnerProducts, projection: Projection) -> GradientWeights:
    r"""Return the factors of the two gradients in the arm's own.

    .. math::
        orthogonal: \quad g_c + λ g_r - \frac{⟨λ g_r, g_c⟩}{‖g_c‖^2} g_c, \qquad
        grafted: \quad \frac{‖g_c‖}{‖g_c + λ g_r‖} (g_c + λ g_r)

    Where g_c is 0, `orthogonal` takes all of λ g_r, and `grafted` is 0. Where the sum is 0, so is
    `grafted`.

    Args:
        products: Of g_c and λ g_r.
        projection: The arm's.
    """
    class_class, across, regularizer = products
    one = torch.ones_like(class_class)
    if projection == "orthogonal":
        share = torch.where(class_class > 0, across / class_class, 0.0)
        return GradientWeights(one - share, one)
    if projection == "grafted":
        squared = class_class + 2 * across + regularizer
        scale = torch.where(squared > 0, class_class / squared, 0.0).sqrt()
        return GradientWeights(scale, scale)
    return GradientWeights(one, one)


def member_weights(products: InnerProducts, projections: Sequence[Projection]) -> GradientWeights:
    """Return the factors of M members, each by its own arm, ``[M]``.

    Args:
        products: ``[M]`` each.
        projections: The members' arms'.
    """
    alone = [
        gradient_weights(InnerProducts(*(product_M[member] for product_M in products)), projection)
        for member, projection in enumerate(projections)
    ]
    return GradientWeights(*(torch.stack(factors) for factors in zip(*alone, strict=True)))


def weigher(projection: Projection) -> Weigh:
    """Return what makes the factors of one network's gradients."""

    def weigh(class_grad: Sequence[Tensor], regularizer_grad: Sequence[Tensor]) -> GradientWeights:
        products = inner_products(class_grad, regularizer_grad, dot=dot)
        return gradient_weights(products, projection)

    return weigh


def combine(
    class_grad: Sequence[Tensor], regularizer_grad: Sequence[Tensor], weights: GradientWeights
) -> list[Tensor]:
    """Return the weighted sum of two gradients, one tensor a parameter.

    Args:
        class_grad: ∇L_class.
        regularizer_grad: What the regularizer sends, λ included.
        weights: ``[]``, or ``[M]`` where every tensor has the members in front.
    """
    return [
        _like(weights.class_loss, c) * c + _like(weights.regularizer, r) * r
        for c, r in zip(class_grad, regularizer_grad, strict=True)
    ]


class TrainedParameters(NamedTuple):
    """What a step trains; L_class does not reach the last, the heads' losses not the second."""

    extractor: Sequence[Tensor]
    classifier: Sequence[Tensor]
    heads: Sequence[Tensor]


def projected_gradients(
    class_loss: Tensor,
    heads_loss: Tensor,
    extractor: Sequence[Tensor],
    *,
    weigh: Weigh,
) -> list[Tensor]:
    """Return the arm's own gradient on the extractor; the graph is kept.

    Args:
        class_loss: L_class, ``[]``.
        heads_loss: Its backward sends the weighted regularizer to the extractor, ``[]``.
        extractor: The parameters.
        weigh: Makes the factors of the two gradients.
    """
    class_grad = torch.autograd.grad(class_loss, extractor, retain_graph=True)
    regularizer_grad = torch.autograd.grad(
        heads_loss, extractor, retain_graph=True, materialize_grads=True
    )
    return combine(class_grad, regularizer_grad, weigh(class_grad, regularizer_grad))


def projected_backward(
    class_loss: Tensor,
    heads_loss: Tensor,
    parameters: TrainedParameters,
    *,
    weigh: Weigh,
) -> None:
    """Leave the arm's gradients in ``.grad`` of all parameters; arguments as above."""
    extractor, classifier, heads = parameters
    class_grad = torch.autograd.grad(class_loss, [*extractor, *classifier], retain_graph=True)
    heads_grad = torch.autograd.grad(heads_loss, [*extractor, *heads], materialize_grads=True)
    size = len(extractor)
    weights = weigh(class_grad[:size], heads_grad[:size])
    grads = [
        *combine(class_grad[:size], heads_grad[:size], weights),
        *class_grad[size:],
        *heads_grad[size:],
    ]
    for parameter, grad in zip([*extractor, *classifier, *heads], grads, strict=True):
        parameter.grad = _laid_out_like(parameter, grad)


def _laid_out_like(parameter: Tensor, grad: Tensor) -> Tensor:
    """Return a gradient in its parameter's memory layout, as ``backward`` leaves it.

    torch's fused optimizers read both as plain memory.
    """
    if grad.stride() == parameter.stride():
        return grad
    return torch.empty_like(parameter).copy_(grad)


def _like(weight: Tensor, gradient: Tensor) -> Tensor:
    return weight.to(gradient.dtype).view(weight.shape + (1,) * (gradient.ndim - weight.ndim))
