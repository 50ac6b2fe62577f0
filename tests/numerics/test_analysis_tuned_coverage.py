"""Intervals of tuned differences cover: plain ones too rarely, widened ones as they say."""

import numpy as np
import pytest

from analysis.intervals import infer
from analysis.selection import best_first, mean_of_others, pick, widen

NUM_REPETITIONS = 600


def tuned_difference(generator, *, num_seeds: int, num_configurations: int) -> np.ndarray:
    """Return the difference of two tuned sides that are alike, one value a seed, ``[n, 1]``.

    The last configuration is worse than the first by one standard deviation; the noise of
    validation and test is correlated with 0.7.
    """
    tuned = []
    for _ in range(2):
        level = np.linspace(0, -1, num_configurations)[:, None]
        noise, other = generator.normal(size=(2, num_configurations, num_seeds))
        validation = 0.7 * noise + np.sqrt(1 - 0.7**2) * other + level
        chosen = best_first(mean_of_others(validation))[0]
        tuned.append(pick(noise + level, chosen))
    return (tuned[0] - tuned[1])[:, None]


def covers_zero(values: np.ndarray) -> bool:
    found = infer(values, np.array([0]))
    return bool(found["ci_low"].item() <= 0 <= found["ci_high"].item())


@pytest.mark.parametrize("num_configurations", [5, 20])
def test_widened_intervals_of_tuned_differences_cover_and_plain_ones_do_not(num_configurations):
    generator = np.random.default_rng(num_configurations)
    differences = [
        tuned_difference(generator, num_seeds=10, num_configurations=num_configurations)
        for _ in range(NUM_REPETITIONS)
    ]

    plain = np.mean([covers_zero(values) for values in differences])
    widened = np.mean([covers_zero(widen(values)) for values in differences])

    assert plain < 0.90
    assert widened > 0.93
