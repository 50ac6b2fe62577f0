"""A sweep trained by Ray, and the same sweep simulated from what it recorded."""

import pytest
from sweep_cases import OPTIONS, plan_case, read_table, run_case

from rlp_sweeps.orchestration.simulation import SimulatedExecutor, Simulation, read_reports
from rlp_sweeps.orchestration.sweep import run_sweep
from rlp_sweeps.tracking.run_directory import RunDirectory

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def test_a_simulated_search_asks_what_the_real_one_asked_and_ends_with_its_rows(tmp_path):
    run_case("search", tmp_path / "real")
    simulation = Simulation(recorded=(str(tmp_path / "real"),))

    outcome = run_sweep(
        plan_case("search"),
        output=tmp_path / "simulated",
        options=OPTIONS,
        executor=SimulatedExecutor(simulation),
    )

    assert outcome.is_complete
    for table in ("trials", "epochs"):
        assert read_table(tmp_path / "simulated", table).equals(
            read_table(tmp_path / "real", table)
        )
    trained_s = trained_seconds(tmp_path / "real")
    assert read_reports(tmp_path / "simulated")[-1].time_s == pytest.approx(trained_s)


def trained_seconds(output):
    """Return the seconds of training that a sweep has recorded."""
    return sum(RunDirectory.open(output).read_trials()["wall_time_s"].to_pylist())
