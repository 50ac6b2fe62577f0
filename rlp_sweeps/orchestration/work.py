"""What is left to do of a sweep, as much of it as the budget lets one call train."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlp_sweeps.orchestration.budget import first_trials
from rlp_sweeps.orchestration.planner import Group, SweepPlan, remaining_groups

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.progress import AttemptLog
    from rlp_sweeps.orchestration.search import SweepOptunaSearch


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do.

    Attributes:
        finished: Status of the trials that have a row, by id.
        groups: Groups of a grid to train; none in a search.
        searcher: The rebuilt search; None for a grid.
        is_cut: Whether the budget leaves trials of a grid for a later call.
    """

    finished: dict[str, str]
    groups: list[Group]
    searcher: "SweepOptunaSearch | None"
    is_cut: bool = False

    @classmethod
    def of_grid(
        cls, plan: SweepPlan, finished: dict[str, str], done: set[str], *, max_trials: int | None
    ) -> "Work":
        """Return what the budget lets this call train of a grid.

        Args:
            plan: The sweep.
            finished: Status of the trials that have a row, by id.
            done: Those of them that are not trained again.
            max_trials: Trials to train at most; None: all.

        Raises:
            ArgumentError: The next group has more.
        """
        groups = remaining_groups(plan, done)
        first = first_trials(plan, groups, max_trials)
        is_cut = sum(len(g.trials) for g in first) < sum(len(g.trials) for g in groups)
        return cls(finished, first, None, is_cut)

    @property
    def is_out_of_trials(self) -> bool:
        """Whether the budget of trials has left some for a later call."""
        return self.is_cut or (self.searcher is not None and self.searcher.is_out_of_trials)

    @property
    def num_groups(self) -> int:
        """Groups to train; of a search the points that are not told."""
        return len(self.groups) if self.searcher is None else self.searcher.num_left

    def was_interrupted(self, log: "AttemptLog") -> bool:
        """Return whether groups were left that neither ended nor were lost."""
        if self.searcher is None:
            return self.is_cut or log.num_ended < self.num_groups
        return self.searcher.num_left > 0
