"""The sweep in plain Ray Tune.

    python -m benchmarks.baselines.ray_tune DIR [--reuse] [--preloaded] [--batched]

DIR holds ``task.json``; ``mlflow.db`` is written there. Without options: what the tutorials show,
one process a trial, a `DataLoader`, `MLflowLoggerCallback`. `--reuse` sets ``reuse_actors=True``.
`--preloaded` puts the images into Ray's object store once, indexes them in memory and holds torch
to one thread. `--batched` leaves the callback out; each trial writes its own run at its end.
"""

import argparse
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from torch import Tensor

from benchmarks.baselines.mlflow_log import create_experiment
from benchmarks.baselines.task import EXPERIMENT, Task
from benchmarks.baselines.trial import load_digits_arrays, train_trial


def trainable(
    config: dict[str, Any],
    *,
    task: Task,
    arrays: tuple[Tensor, Tensor] | None = None,
    store: tuple[str, str] | None = None,
) -> None:
    """Train one trial and report to Tune after every epoch.

    Args:
        config: `lr`, `rlp_lambda` and `seed`.
        task: What all trials share.
        arrays: Preloaded images and classes; read from scikit-learn where missing.
        store: MLflow's address and experiment, where the trial itself writes its run.
    """
    if arrays is not None:
        torch.set_num_threads(1)
    log = None
    if store is not None:  # MLflow is imported in the workers that write to it, in no others
        from benchmarks.baselines.mlflow_log import RunLog

        log = RunLog(*store)

    def report(epoch: int, metrics: dict[str, float]) -> None:
        tune.report(metrics)
        if log is not None:
            log.add(epoch, metrics)

    uses_loader = arrays is None
    train_trial(
        config, task, arrays=arrays or load_digits_arrays(), uses_loader=uses_loader, report=report
    )
    if log is not None:
        log.write(config)


def run(directory: Path, *, reuses_actors: bool, is_preloaded: bool, writes_batches: bool) -> None:
    """Train the task of a directory; all trials must succeed.

    Raises:
        RuntimeError: A trial failed.
    """
    task = Task.load(directory / "task.json")
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    parameters: dict[str, Any] = {"task": task}
    if is_preloaded:
        parameters["arrays"] = load_digits_arrays()
    callbacks: list[tune.Callback] = []
    if writes_batches:
        parameters["store"] = (uri, create_experiment(uri))
    else:
        callbacks.append(MLflowLoggerCallback(tracking_uri=uri, experiment_name=EXPERIMENT))
    with tempfile.TemporaryDirectory() as storage:
        ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, **parameters), {"cpu": 1}),
            param_space={
                "lr": tune.grid_search(list(task.lrs)),
                "rlp_lambda": tune.grid_search(list(task.lambdas)),
                "seed": tune.grid_search(list(range(task.num_seeds))),
            },
            tune_config=tune.TuneConfig(
                metric="val_accuracy", mode="max", reuse_actors=reuses_actors
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0, callbacks=callbacks),
        )
        results = tuner.fit()
        ray.shutdown()
    if results.num_errors:
        msg = f"{results.num_errors} trials failed: {results.errors[0]}"
        raise RuntimeError(msg)


def main() -> None:
    """Train the task of a directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    for option in ("reuse", "preloaded", "batched"):
        parser.add_argument(f"--{option}", action="store_true")
    arguments = parser.parse_args()
    run(
        arguments.directory,
        reuses_actors=arguments.reuse,
        is_preloaded=arguments.preloaded,
        writes_batches=arguments.batched,
    )


if __name__ == "__main__":
    main()
