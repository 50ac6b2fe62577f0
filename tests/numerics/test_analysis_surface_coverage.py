"""The response surface's numbers: its algebra against the long way, and what intervals cover."""

import numpy as np
import pytest
from scipy import stats

from analysis.surface_effects import infer_with_known
from analysis.surface_process import Process, fit_process
from benchmarks.simulation.scenarios import SCENARIOS
from benchmarks.simulation.surface import measure, summarize, to_markdown

NUM_SWEEPS = 30


@pytest.fixture(scope="module")
def process() -> Process:
    generator = np.random.default_rng(3)
    points = generator.normal(size=(14, 2))
    surface = np.sin(points[:, 0]) + 0.3 * points[:, 1]
    return fit_process(points, surface[:, None] + generator.normal(0, 0.1, (14, 4)))


def test_weights_of_a_reading_sum_to_one(process):
    at = np.random.default_rng(1).normal(size=(5, 2))

    assert process.weights(at).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-9)


def test_a_reading_is_the_posterior_mean_around_each_seeds_mean(process):
    at = np.array([[0.2, -0.4]])
    covariance = process.kernel(process.points) + (process.noise + 1e-10) * np.eye(14)
    gain = process.kernel(at, process.points) @ np.linalg.inv(covariance)
    means = process.outcomes.mean(axis=0)

    values, _ = process.read(at, np.eye(1))

    assert values[0] == pytest.approx((means + gain @ (process.outcomes - means))[0], abs=1e-9)


def test_interpolation_variance_is_what_weights_miss_of_drawn_surfaces(process):
    at, average = np.array([[0.2, -0.4], [2.5, 0.1]]), np.array([[0.5, 0.5]])
    everywhere = np.concatenate([at, process.points])
    root = np.linalg.cholesky(process.kernel(everywhere) + 1e-9 * np.eye(16))
    surfaces = root @ np.random.default_rng(0).normal(size=(16, 20_000)) * process.scale

    _, variance = process.read(at, average)

    missed = average @ (surfaces[:2] - process.weights(at) @ surfaces[2:])
    assert variance[0] == pytest.approx(missed.var(), rel=0.05)


def test_leaving_one_point_out_is_what_a_refit_without_it_predicts(process):
    residuals, variances = [], []
    means = process.outcomes.mean(axis=1)
    for number in range(14):
        others = np.delete(np.arange(14), number)
        covariance = process.kernel(process.points[others]) + process.noise * np.eye(13)
        across = process.kernel(process.points[[number]], process.points[others])
        gain = across @ np.linalg.inv(covariance)
        center = means[others].mean()
        residuals.append(means[number] - center - (gain @ (means[others] - center)).item())
        own = process.kernel(process.points[[number]]).item() + process.noise
        variances.append((own - (gain @ across.T).item()) * process.scale**2)

    found = process.check()

    squared = np.square(residuals)
    assert found["loo_rms"] == pytest.approx(np.sqrt(np.mean(squared / variances)), rel=1e-6)
    total = np.square(means - means.mean()).sum()
    assert found["loo_r2"] == pytest.approx(1 - squared.sum() / total, rel=1e-6)


def test_intervals_have_satterthwaites_degrees_of_freedom():
    values, known = np.array([[0.1, 0.3, 0.2], [0.1, 0.3, 0.2]]), np.array([0.0, 0.01])
    by_seed = np.var([0.1, 0.3, 0.2], ddof=1) / 3

    found = infer_with_known(values, known)

    plain = stats.t.interval(0.95, 2, 0.2, np.sqrt(by_seed))
    degrees = (by_seed + 0.01) ** 2 / (by_seed**2 / 2)
    wide = stats.t.interval(0.95, degrees, 0.2, np.sqrt(by_seed + 0.01))
    assert (found["ci_low"][0], found["ci_high"][0]) == pytest.approx(plain)
    assert (found["ci_low"][1], found["ci_high"][1]) == pytest.approx(wide)
    assert found["interpolation_share"] == pytest.approx([0, 0.01 / (by_seed + 0.01)])


def test_known_variance_alone_makes_a_normal_interval():
    found = infer_with_known(np.full((1, 3), 0.2), np.array([0.01]))

    assert found["ci_high"][0] == pytest.approx(0.2 + 1.959964 * 0.1)


def test_intervals_cover_the_effects_of_simulated_searches():
    found = summarize(measure(SCENARIOS["base"], NUM_SWEEPS, num_points=30, num_seeds=5))

    assert len(found) == 2 * 4
    assert found["coverage"].min() > 0.80
    assert found["bias"].abs().max() < 0.003
    assert len(list(to_markdown("base", found))) == 8
