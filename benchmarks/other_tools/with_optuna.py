"""The study in Optuna: a grid in an SQLite study, two threads.

    python -m benchmarks.other_tools.with_optuna DIR       # the same again goes on after a kill
    optuna-dashboard sqlite:///DIR/study.db

`trial.report` takes one number an epoch; the other metrics are kept as an attribute of the trial.
"""

from pathlib import Path

import optuna
import pandas as pd

from benchmarks.other_tools.command_line import parse
from benchmarks.other_tools.effects import effects
from benchmarks.other_tools.study import ARMS, SEEDS, train


def sweep(directory: Path, lrs: tuple[float, ...]) -> pd.DataFrame:
    """Train what is missing of the grid; return one row a finished trial."""

    def objective(trial: optuna.Trial) -> float:
        point = {name: trial.suggest_categorical(name, values) for name, values in axes.items()}
        epochs: list[dict[str, float]] = []

        def report(epoch: int, metrics: dict[str, float]) -> None:
            trial.report(metrics["test_accuracy"], epoch)
            epochs.append(metrics)

        train(**point, report=report)
        trial.set_user_attr("epochs", epochs)
        trial.set_user_attr("random_label_accuracy", epochs[-1]["random_label_accuracy"])
        return epochs[-1]["test_accuracy"]

    axes = {"lr": list(lrs), "arm": list(ARMS), "seed": list(SEEDS)}
    study = optuna.create_study(
        storage=f"sqlite:///{directory}/study.db",
        study_name="rlp",
        load_if_exists=True,
        sampler=optuna.samplers.GridSampler(axes, seed=0),
        direction="maximize",
    )
    if not optuna.samplers.GridSampler(axes, seed=0).is_exhausted(study):
        study.optimize(objective, n_jobs=2, catch=(Exception,))
    frame = study.trials_dataframe(attrs=("number", "value", "params", "user_attrs", "state"))
    frame.columns = frame.columns.str.replace("params_|user_attrs_", "", regex=True)
    frame = frame[frame.state == "COMPLETE"].drop_duplicates(list(axes))
    return frame.rename(columns={"value": "test_accuracy"}).drop(columns=["epochs", "state"])


if __name__ == "__main__":
    directory, lrs = parse(__doc__)
    trials = sweep(directory, lrs)
    trials.to_parquet(directory / "trials.parquet")
    print(effects(trials))
