"""What users of the other tools write after the sweep: effects by seed, with intervals."""

import pandas as pd
from scipy import stats


def effects(trials: pd.DataFrame, outcome: str = "test_accuracy") -> pd.DataFrame:
    """Return the total effect and what came with each term, with 95 % t intervals over seeds.

    Args:
        trials: One row a trial: `lr`, `arm`, `seed` and the outcome after the last epoch.
        outcome: Its name.

    Raises:
        ValueError: A trial is missing or stands twice.
    """
    cells = trials.pivot(index=["seed", "lr"], columns="arm", values=outcome)
    if cells.isna().to_numpy().any():
        msg = f"every arm must have a finite {outcome} in every seed and lr, but got\n{cells}"
        raise ValueError(msg)
    seeds = cells.groupby("seed").mean()
    class_legs = (seeds.class_term - seeds.control, seeds.full - seeds.uniform_term)
    per_seed = pd.DataFrame({"total": seeds.full - seeds.control})
    per_seed["class_term"] = sum(class_legs) / 2
    per_seed["uniform_term"] = per_seed.total - per_seed.class_term
    n, mean = len(per_seed), per_seed.mean()
    half = stats.t.ppf(0.975, n - 1) * per_seed.std() / n**0.5
    return pd.DataFrame({"estimate": mean, "low": mean - half, "high": mean + half, "n": n})
