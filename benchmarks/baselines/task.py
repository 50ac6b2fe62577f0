"""The sweep that every tool is given: the same points, model, batches, epochs and metrics."""

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

METRICS = (
    "train_accuracy",
    "val_accuracy",
    "test_accuracy",
    "test_loss",
    "random_label_accuracy",
)
"""What each tool measures and logs to MLflow after every epoch; this package logs more."""

EXPERIMENT = "digits"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A grid over learning rate, λ and seed; λ = 0 is the trial without regularizer.

    Attributes:
        lrs: Learning rates.
        lambdas: λ, 0 among them.
        num_seeds: Replicates.
        num_epochs: Epochs of a trial.
        batch_size: Samples of one step.
        num_random_labels: R.
    """

    lrs: tuple[float, ...] = (0.01, 0.03, 0.05, 0.1)
    lambdas: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0)
    num_seeds: int = 4
    num_epochs: int = 5
    batch_size: int = 64
    num_random_labels: int = 10

    @property
    def points(self) -> list[dict[str, float]]:
        """Every trial's lr, λ and seed."""
        values = itertools.product(range(self.num_seeds), self.lrs, self.lambdas)
        return [{"lr": lr, "rlp_lambda": lam, "seed": seed} for seed, lr, lam in values]

    def save(self, path: Path) -> None:
        """Write the task as JSON; `load` reads it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the task that `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "lrs": tuple(values["lrs"]), "lambdas": tuple(values["lambdas"])})

    def as_space(self) -> str:
        """Return the same sweep as a search space of this package: the text of a Python file."""
        regularized = tuple(value for value in self.lambdas if value)
        return (
            "from rlp_sweeps.spaces import ChoiceAxis, SearchSpace\n\n"
            "SPACE = SearchSpace(\n"
            f"    axes={{'lr': ChoiceAxis(choices={self.lrs!r}),\n"
            f"          'rlp_lambda': ChoiceAxis(choices={regularized!r}, control=0.0)}},\n"
            "    arms=('control', 'full'),\n"
            f"    num_seeds={self.num_seeds},\n"
            "    fixed={'dataset': 'digits', 'backbone': 'small_cnn', 'eval_every': 1,\n"
            f"           'num_epochs': {self.num_epochs}, 'batch_size': {self.batch_size},\n"
            f"           'num_random_labels': {self.num_random_labels}}},\n"
            ")\n"
        )


FULL = Task()
QUICK = Task(lrs=(0.03, 0.1), lambdas=(0.0, 1.0), num_seeds=2, num_epochs=2)
