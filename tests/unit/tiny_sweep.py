"""A sweep of two trials that train in milliseconds, and the job that its workers are given."""

from pathlib import Path

from rlp_sweeps.orchestration.early_stopping import clear_stop_request
from rlp_sweeps.orchestration.planner import SweepPlan, plan_sweep
from rlp_sweeps.orchestration.trainable import SweepJob
from rlp_sweeps.spaces import LogAxis, SearchSpace
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest


def tiny_space(num_epochs: int = 3) -> SearchSpace:
    return SearchSpace(
        axes={"lr": LogAxis(low=0.01, high=0.1, num_points=2)},
        arms=("control",),
        num_seeds=1,
        fixed={
            "dataset": "synthetic:1,4,4,2,64",
            "backbone": "mlp",
            "num_epochs": num_epochs,
            "batch_size": 16,
        },
    )


def tiny_plan(space: SearchSpace | None = None) -> SweepPlan:
    """Return it as one group."""
    clear_stop_request()
    return plan_sweep(space or tiny_space(), name="tiny", device="cpu", group_size=2)


def tiny_directory(plan: SweepPlan, path: Path | str) -> RunDirectory:
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    return RunDirectory.create(path, manifest)


def tiny_job(directory: RunDirectory, engine: str = "sequential") -> SweepJob:
    return SweepJob(
        directory=directory,
        groups={},
        data_dir="/nowhere",
        device="cpu",
        engine=engine,
        num_threads=1,
        checkpoint_interval_s=0.0,
    )
