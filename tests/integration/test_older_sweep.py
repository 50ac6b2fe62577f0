"""A sweep that the first version began goes on."""

import shutil
from pathlib import Path

import pytest

from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.sweep import resume_sweep

GOLDEN = Path(__file__).parents[1] / "contract" / "golden_v1"


@pytest.mark.slow
def test_an_older_sweep_goes_on(tmp_path: Path) -> None:
    golden = shutil.copytree(GOLDEN, tmp_path / "golden")

    outcome = resume_sweep(golden, options=RunOptions(num_cpus=1, device="cpu"))

    assert outcome.is_complete
    assert outcome.counts["completed"] == 4
