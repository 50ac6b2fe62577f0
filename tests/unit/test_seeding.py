import itertools

import pytest

from rlp_sweeps.errors import ConfigError
from rlp_sweeps.seeding import STREAMS, stream_seed

GOLDEN = {
    ("init", 0): 7975539485452380990,
    ("order", 0): 4936212606687683382,
    ("random_labels", 0): 4623256940122645852,
    ("split", 0): 7870584959833950765,
}


@pytest.mark.parametrize(("stream", "seed"), GOLDEN)
def test_stream_seed_keeps_its_golden_value(stream: str, seed: int) -> None:
    assert stream_seed(seed, stream) == GOLDEN[stream, seed]


def test_stream_seed_with_counters_keeps_its_golden_value() -> None:
    assert stream_seed(3, "order", 7) == 2794151213788551439


def test_stream_seeds_differ_between_streams_seeds_and_counters() -> None:
    seeds = [
        stream_seed(seed, stream, *counters)
        for seed, stream, counters in itertools.product(
            range(20), STREAMS, [(), (0,), (1,), (0, 1), (1, 0), (10,)]
        )
    ]

    assert len(set(seeds)) == len(seeds)


def test_stream_seed_does_not_confuse_seed_and_counter_digits() -> None:
    assert stream_seed(1, "order", 11) != stream_seed(1, "order", 1, 1)
    assert stream_seed(11, "order", 1) != stream_seed(1, "order", 11)


def test_stream_seed_fits_a_torch_generator() -> None:
    assert all(0 <= stream_seed(seed, "init") < 2**63 for seed in range(1000))


def test_low_bits_of_stream_seeds_are_balanced() -> None:
    ones = sum(stream_seed(seed, "init") & 1 for seed in range(2000))

    assert 900 < ones < 1100


def test_stream_seed_refuses_an_unknown_stream_and_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown random stream 'shuffle'; .*'order'"):
        stream_seed(0, "shuffle")
