"""Recorded sweeps of a few rows, and simulations of them."""

from tiny_sweep import tiny_directory

from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.simulation import SimulatedExecutor, Simulation, read_reports
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace
from rlp_sweeps.tracking.run_directory import RunDirectory

FIXED = {"dataset": "synthetic:1,4,4,2,64", "backbone": "mlp", "num_epochs": 2, "batch_size": 16}


def space_of(num_lrs, **changes):
    lrs = tuple(0.01 * (number + 1) for number in range(num_lrs))
    axes = {"lr": ChoiceAxis(choices=lrs)}
    fixed = {**FIXED, **changes.pop("fixed", {})}
    return SearchSpace(
        **{"axes": axes, "arms": ("control",), "num_seeds": 1, "fixed": fixed} | changes
    )


def plan_of(space, *, group_size=1):
    return plan_sweep(space, name="tiny", device="cpu", engine="sequential", group_size=group_size)


def record(path, plan, *, epoch_s, **changes):
    """Write a run directory whose trials took these seconds an epoch, each its own number."""
    directory = tiny_directory(plan, path)
    for trial, time_s in zip(plan.trials, epoch_s, strict=True):
        epochs = [
            {"trial_id": trial.trial_id, "epoch": epoch, "epoch_time_s": time_s}
            | {"val_accuracy": 0.1 * epoch + trial.lr, "test_accuracy": trial.lr}
            for epoch in range(1, trial.num_epochs + 1)
        ]
        row = {
            **trial.to_dict(),
            "trial_id": trial.trial_id,
            "status": "completed",
            "val_accuracy": epochs[-1]["val_accuracy"],
            "test_accuracy": trial.lr,
            "epochs_completed": trial.num_epochs,
            "wall_time_s": trial.num_epochs * time_s,
            **changes,
        }
        directory.write_trial(row, epochs)
    return path


def simulate(plan, output, *, options=None, **settings):
    """Simulate into a directory; return the outcome and the attempt's report."""
    settings = {k: (str(v),) if k == "recorded" else v for k, v in settings.items()}
    executor = SimulatedExecutor(Simulation(**settings))
    outcome = run_sweep(plan, output=output, options=options or RunOptions(), executor=executor)
    return outcome, read_reports(output)[-1]


def resume(output):
    outcome = resume_sweep(output)
    return outcome, read_reports(output)[-1]


def ends_s(output):
    """Return when each trial ended, in seconds after the first start, by learning rate."""
    rows = RunDirectory.open(output).read_trials().to_pylist()
    first = min(row["started_at_ms"] for row in rows)
    return {round(row["lr"], 3): (row["finished_at_ms"] - first) / 1e3 for row in rows}
