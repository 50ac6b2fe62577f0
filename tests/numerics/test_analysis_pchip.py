"""Many curves at once equal SciPy's, one by one; knots of their own, ties, few knots."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from analysis.pchip import curves_through


def random_points(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return curves of 0 to 7 points in random order, some values equal."""
    generator = np.random.default_rng(seed)
    curve = np.repeat(np.arange(50), generator.integers(0, 8, 50))
    x = generator.normal(size=len(curve))
    y = np.round(generator.normal(size=len(curve)), int(generator.integers(0, 4)))
    order = generator.permutation(len(curve))
    return curve[order], x[order], y[order]


@pytest.mark.parametrize("seed", range(4))
def test_curves_equal_those_of_scipy(seed):
    curve, x, y = random_points(seed)
    at = np.linspace(-2, 2, 41)

    curves = curves_through(curve, x, y, num_curves=50)

    for number in range(50):
        value, derivative = curves.evaluate(np.full(41, number), at)
        own = np.flatnonzero(curve == number)
        own = own[np.argsort(x[own])]
        if len(own) < 2:
            assert np.isnan(value).all()
            continue
        reference = PchipInterpolator(x[own], y[own], extrapolate=False)
        np.testing.assert_allclose(value, reference(at), rtol=0, atol=1e-12)
        np.testing.assert_allclose(derivative, reference.derivative()(at), rtol=1e-9, atol=1e-9)


def test_curves_meet_their_knots_exactly():
    curve, x, y = random_points(9)
    curves = curves_through(curve, x, y, num_curves=50)
    is_curve = curves.num_knots[curve] > 1

    value, _ = curves.evaluate(curve[is_curve], x[is_curve])

    assert (value == y[is_curve]).all()


def test_knots_that_are_alike_count_once_with_their_mean():
    curves = curves_through(
        np.zeros(3, dtype=np.int64),
        np.array([0.0, 1e-12, 1.0]),
        np.array([1.0, 3.0, 5.0]),
        num_curves=1,
    )

    value, _ = curves.evaluate(np.zeros(2, dtype=np.int64), np.array([0.0, 0.5]))

    assert value.tolist() == [2.0, 3.5]


def test_curves_without_points_have_no_values():
    curves = curves_through(np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros(1), num_curves=2)

    value, _ = curves.evaluate(np.array([0, 1]), np.zeros(2))

    assert np.isnan(value).all()
