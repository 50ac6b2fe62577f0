"""The study in Hydra: `--multirun` by configuration, joblib as launcher, a JSON file a trial.

    python -m benchmarks.other_tools.with_hydra output=DIR       # the same again goes on
    python -m benchmarks.other_tools.with_hydra DIR --collect    # table and effects

Hydra starts jobs and makes directories. Results, what is finished, and the table are the user's.
"""

import json
import sys
from pathlib import Path

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from benchmarks.other_tools.effects import effects
from benchmarks.other_tools.study import train


@hydra.main(version_base="1.3", config_path=".", config_name="with_hydra")
def trial(config: DictConfig) -> None:
    """Train one trial, unless its result is there, and write its epochs."""
    result = Path(HydraConfig.get().runtime.output_dir) / "result.json"
    if result.exists():
        return
    epochs: list[dict[str, float]] = []
    point = {"lr": config.lr, "arm": config.arm, "seed": config.seed}
    train(**point, report=lambda epoch, metrics: epochs.append({"epoch": epoch, **metrics}))
    part = result.with_suffix(".part")
    part.write_text(json.dumps({**point, "epochs": epochs}))
    part.rename(result)


def collect(directory: Path) -> pd.DataFrame:
    """Return one row a trial."""
    found = [
        json.loads(path.read_text()) for path in sorted(directory.glob("trials/*/result.json"))
    ]
    return pd.DataFrame([{**result.pop("epochs")[-1], **result} for result in found])


if __name__ == "__main__":
    if "--collect" in sys.argv:
        directory = Path(sys.argv[1])
        trials = collect(directory)
        trials.to_parquet(directory / "trials.parquet")
        print(effects(trials))
    else:
        trial()
