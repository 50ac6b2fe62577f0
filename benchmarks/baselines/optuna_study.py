"""The sweep as an Optuna study with two threads: ``study.optimize(n_jobs=2)``.

    python -m benchmarks.baselines.optuna_study DIR

Every point of the grid is enqueued, because `GridSampler` may give two threads the same point. The
study is in memory, data are in memory, torch has one thread a trial; each trial writes its MLflow
run at its end. The two trials share one interpreter and its lock.
"""

import argparse
import os
from pathlib import Path

import optuna
import torch

from benchmarks.baselines.mlflow_log import RunLog, create_experiment
from benchmarks.baselines.task import Task
from benchmarks.baselines.trial import load_digits_arrays, train_trial


def run(directory: Path) -> None:
    """Train the task of a directory.

    Raises:
        RuntimeError: A trial failed or a point is missing.
    """
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = Task.load(directory / "task.json")
    arrays = load_digits_arrays()
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    store = (uri, create_experiment(uri))

    def objective(trial: optuna.Trial) -> float:
        point = {
            "lr": trial.suggest_categorical("lr", task.lrs),
            "rlp_lambda": trial.suggest_categorical("rlp_lambda", task.lambdas),
            "seed": trial.suggest_categorical("seed", list(range(task.num_seeds))),
        }
        log = RunLog(*store)
        accuracies: list[float] = []

        def report(epoch: int, metrics: dict[str, float]) -> None:
            log.add(epoch, metrics)
            accuracies.append(metrics["val_accuracy"])

        train_trial(point, task, arrays=arrays, uses_loader=False, report=report)
        log.write(point)
        return accuracies[-1]

    study = optuna.create_study(direction="maximize")
    for point in task.points:
        study.enqueue_trial(point)
    study.optimize(objective, n_trials=len(task.points), n_jobs=os.cpu_count() or 1)
    trained = {tuple(sorted(trial.params.items())) for trial in study.trials}
    if len(trained) != len(task.points):
        msg = f"all {len(task.points)} points must be trained, but {len(trained)} were."
        raise RuntimeError(msg)


def main() -> None:
    """Train the task of a directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    run(parser.parse_args().directory)


if __name__ == "__main__":
    main()
