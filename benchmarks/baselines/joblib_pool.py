"""The sweep as a plain loop over processes: ``joblib.Parallel(n_jobs=2)``.

    python -m benchmarks.baselines.joblib_pool DIR

Data are passed in memory, torch has one thread a process; each trial writes its MLflow run at its
end. Nothing is kept for a resume, nothing is scheduled. joblib comes with scikit-learn.
"""

import argparse
import os
from pathlib import Path

import torch
from joblib import Parallel, delayed  # type: ignore[import-untyped]  # it has no stubs
from torch import Tensor

from benchmarks.baselines.mlflow_log import RunLog, create_experiment
from benchmarks.baselines.task import Task
from benchmarks.baselines.trial import load_digits_arrays, train_trial


def train_one(
    point: dict[str, float], task: Task, arrays: tuple[Tensor, Tensor], store: tuple[str, str]
) -> None:
    """Train one trial in a worker process and write its run."""
    torch.set_num_threads(1)
    log = RunLog(*store)
    train_trial(point, task, arrays=arrays, uses_loader=False, report=log.add)
    log.write(point)


def run(directory: Path) -> None:
    """Train the task of a directory."""
    task = Task.load(directory / "task.json")
    arrays = load_digits_arrays()
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    store = (uri, create_experiment(uri))
    jobs = (delayed(train_one)(point, task, arrays, store) for point in task.points)
    Parallel(n_jobs=os.cpu_count() or 1)(jobs)


def main() -> None:
    """Train the task of a directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    run(parser.parse_args().directory)


if __name__ == "__main__":
    main()
