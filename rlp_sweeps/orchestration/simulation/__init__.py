"""A sweep in simulated time: the orchestrator against recorded or stated results.

Planner, search, rows, MLflow's feed, resume, progress and analysis are those of a real sweep; in
place of training, a group takes the seconds that were recorded of its trials, on a cluster of nodes
that may be lost and come back. Nobody waits: the clock jumps from one event to the next.
Model: the simulator backend of Syne Tune (Salinas et al. 2022, "Syne Tune: A Library for Large
Scale Hyperparameter Tuning and Reproducible Research", AutoML-Conf).
"""

from rlp_sweeps.orchestration.simulation.executor import SimulatedExecutor
from rlp_sweeps.orchestration.simulation.report import SimulationReport, read_reports
from rlp_sweeps.orchestration.simulation.settings import Simulation

__all__ = ["SimulatedExecutor", "Simulation", "SimulationReport", "read_reports"]
