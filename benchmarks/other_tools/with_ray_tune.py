"""The study in plain Ray Tune: `grid_search`, workers that are used again, `Tuner.restore`.

python -m benchmarks.other_tools.with_ray_tune DIR     # the same again goes on after a kill
tensorboard --logdir DIR                               # what it logs for; not installed by Ray
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import ray
from ray import tune

from benchmarks.other_tools.command_line import parse
from benchmarks.other_tools.effects import effects
from benchmarks.other_tools.study import ARMS, SEEDS, train


def trainable(config: dict[str, Any]) -> None:
    """Train one trial and report each epoch to Tune."""
    train(**config, report=lambda epoch, metrics: tune.report({"epoch": epoch, **metrics}))


def sweep(directory: Path, lrs: tuple[float, ...]) -> pd.DataFrame:
    """Train what is missing of the grid; return one row a trial that ended well."""
    path = str(directory / "rlp")
    task = tune.with_resources(trainable, {"cpu": 1})
    if tune.Tuner.can_restore(path):
        tuner = tune.Tuner.restore(path, task, restart_errored=True)
    else:
        axes = {"lr": list(lrs), "arm": list(ARMS), "seed": list(SEEDS)}
        tuner = tune.Tuner(
            task,
            param_space={name: tune.grid_search(values) for name, values in axes.items()},
            tune_config=tune.TuneConfig(metric="test_accuracy", mode="max", reuse_actors=True),
            run_config=tune.RunConfig(name="rlp", storage_path=str(directory)),
        )
    ray.init(address="local", num_cpus=os.cpu_count(), include_dashboard=False)
    results = tuner.fit()
    frame = results.get_dataframe()
    frame.columns = frame.columns.str.replace("config/", "")
    return frame[["lr", "arm", "seed", "epoch", "test_accuracy", "random_label_accuracy"]]


if __name__ == "__main__":
    directory, lrs = parse(__doc__)
    trials = sweep(directory, lrs)
    trials.to_parquet(directory / "trials.parquet")
    print(effects(trials))
