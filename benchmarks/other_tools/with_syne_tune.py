"""The study in Syne Tune: each trial a process of its own, points given one by one.

    python -m benchmarks.other_tools.with_syne_tune DIR    # the same again goes on after a kill

Syne Tune 0.16 has no grid search: the points are those that a random search starts with. What a
saved tuner is loaded from is a pickle.
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.other_tools.command_line import parse
from benchmarks.other_tools.effects import effects
from benchmarks.other_tools.study import ARMS, SEEDS, grid


def trial(lr: float, arm: str, seed: int) -> None:
    """Train one trial; Syne Tune copies this function alone, so it imports what it needs."""
    from syne_tune import Reporter

    from benchmarks.other_tools.study import train

    reporter = Reporter()
    train(lr=lr, arm=arm, seed=seed, report=lambda epoch, m: reporter(epoch=epoch, **m))


def sweep(directory: Path, lrs: tuple[float, ...]) -> pd.DataFrame:
    """Train what is missing of the grid; return one row a trial that reached its last epoch."""
    os.environ["SYNETUNE_FOLDER"] = str(directory)  # before the import
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import PythonBackend
    from syne_tune.config_space import choice
    from syne_tune.experiments import load_experiment
    from syne_tune.optimizer.baselines import RandomSearch

    points: list[dict[str, Any]] = grid(lrs)
    space = {"lr": choice(list(lrs)), "arm": choice(list(ARMS)), "seed": choice(list(SEEDS))}
    if (directory / "rlp" / "tuner.dill").exists():
        tuner = Tuner.load(str(directory / "rlp"))
    else:
        tuner = Tuner(
            trial_backend=PythonBackend(tune_function=trial, config_space=space),
            scheduler=RandomSearch(
                space, metrics=["test_accuracy"], do_minimize=False, points_to_evaluate=points
            ),
            stop_criterion=StoppingCriterion(
                max_num_trials_started=len(points) - 1
            ),  # one more starts
            n_workers=os.cpu_count() or 1,
            sleep_time=0.2,  # 5 s by default
            max_failures=len(points),
            wait_trial_completion_when_stopping=True,
            tuner_name="rlp",
            suffix_tuner_name=False,
        )
    tuner.run()
    frame = load_experiment("rlp").results
    last = frame.sort_values("epoch").groupby("trial_id", as_index=False).last()
    last.columns = last.columns.str.replace("config_", "")
    return last[
        ["trial_id", "lr", "arm", "seed", "epoch", "test_accuracy", "random_label_accuracy"]
    ]


if __name__ == "__main__":
    directory, lrs = parse(__doc__)
    trials = sweep(directory, lrs)
    trials.to_parquet(directory / "trials.parquet")
    print(effects(trials))
