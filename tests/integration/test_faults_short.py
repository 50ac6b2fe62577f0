"""The short form of `make test-faults`: a few faults, in one or two sweeps."""

import random
from dataclasses import replace

import pytest

from benchmarks.faults.campaign import Campaign

pytestmark = pytest.mark.slow

KINDS = ("worker_writing", "driver_compacting")
FURTHER_KINDS = (
    "part_flipped",
    "driver_creating",
    "checkpoint_flipped",
    "part_truncated",
    "sigterm",
    "gcs",
)


@pytest.mark.parametrize("kinds", [KINDS, pytest.param(FURTHER_KINDS, marks=pytest.mark.faults)])
def test_sweep_survives_a_few_faults_without_a_changed_bit(kinds, tmp_path):
    campaign = Campaign(tmp_path, rng=random.Random(0))

    injections = list(campaign.run(list(kinds)))

    assert sorted(one.kind for one in injections) == sorted(kinds)
    counted = {one.kind for one in injections if one.counts}
    assert counted  # some may come too late, but files are waited for
    assert counted >= {kind for kind in kinds if kind.startswith("part_")}
    for one in injections:
        sound = replace(
            one,
            rows_lost=0,
            rows_twice=0,
            numbers_changed=0,
            num_orphans=0,
            num_runs_off=0,
            num_leftovers=0,
            has_traceback=False,
        )
        assert one == sound
