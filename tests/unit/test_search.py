import dataclasses

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState
from ray.tune.search import Searcher

from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.points import PointLog
from rlp_sweeps.orchestration.search import SweepOptunaSearch, optuna_distributions, tune_grid
from rlp_sweeps.spaces import ChoiceAxis, LinearAxis, LogAxis, Search, SearchSpace

LAMBDA = LogAxis(low=1.0, high=10.0, num_points=2, control=0.0)
SPACE = SearchSpace(
    axes={"lr": LogAxis(low=1e-3, high=1.0, num_points=2), "rlp_lambda": LAMBDA},
    arms=("control", "full"),
    num_seeds=2,
    search=Search(num_points=6),
)
DISCRETE = dataclasses.replace(
    SPACE,
    axes={"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": ChoiceAxis(choices=(1.0,), control=0.0)},
)


class Bench:
    """A run directory without training: rows are written by hand."""

    def __init__(self, folder, space=SPACE):
        self.folder, self.space, self.rows, self.num_asked = folder, space, {}, 0

    def start(self):
        def read_rows(trial_ids):
            return {i: self.rows[i] for i in trial_ids if i in self.rows}

        log = PointLog.of(self.folder)
        return SweepOptunaSearch(self.space, log=log, read_rows=read_rows, size_of=lambda _: 4)

    def ask(self, search):
        """Return Tune's name for the next group, and the group."""
        self.num_asked += 1
        name = f"tune-{self.num_asked}"
        suggested = search.suggest(name)
        return name, suggested if suggested == Searcher.FINISHED else Group.from_text(
            suggested["group"]
        )

    def train(self, group, status="completed"):
        for config in group.trials:
            self.rows[config.trial_id] = {
                "trial_id": config.trial_id,
                "status": status,
                "val_accuracy": 1.0 - abs(config.lr - 0.1) + 0.01 * config.seed,
                "memorization": config.lr,
                "val_loss": config.lr,
                "epochs_completed": 2,
            }

    def step(self, search, status="completed"):
        name, group = self.ask(search)
        self.train(group, status)
        search.on_trial_complete(name, {})
        return group


def _told(search):
    return [(t.number, t.state, t.params, t.values) for t in search.study.trials]


def test_distributions_follow_the_axes():
    axes = {
        "lr": LogAxis(low=0.01, high=1.0, num_points=3),
        "label_smoothing": LinearAxis(low=0.0, high=0.4, num_points=2),
        "batch_size": ChoiceAxis(choices=(32, 64)),
        "rlp_lambda": ChoiceAxis(choices=(1.0, 2.0), control=0.0),
    }

    assert optuna_distributions(dataclasses.replace(SPACE, axes=axes)) == {
        "lr": FloatDistribution(0.01, 1.0, log=True),
        "label_smoothing": FloatDistribution(0.0, 0.4),
        "batch_size": CategoricalDistribution((32, 64)),
        "rlp_lambda": CategoricalDistribution((1.0, 2.0)),
    }


def test_search_trains_every_arm_and_seed_of_a_point_as_one_group(tmp_path):
    bench = Bench(tmp_path)

    _, group = bench.ask(bench.start())

    assert group.point == 0
    assert {(t.arm, t.seed) for t in group.trials} == {
        ("control", 0), ("control", 1), ("full", 0), ("full", 1),
    }  # fmt: skip


def test_search_is_told_the_mean_over_seeds_of_the_objective_arm(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()

    group = bench.step(search)

    full = [bench.rows[t.trial_id]["val_accuracy"] for t in group.trials if t.arm == "full"]
    assert search.study.trials[0].value == pytest.approx(sum(full) / 2)


def test_search_ends_after_its_points(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()

    for _ in range(6):
        bench.step(search)

    assert bench.ask(search)[1] == Searcher.FINISHED
    assert search.num_left == 0


def test_rebuilt_search_remembers_every_told_point(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()
    for status in ("completed", "diverged", "failed"):
        bench.step(search, status)

    rebuilt = bench.start()

    assert _told(rebuilt) == _told(search)
    states = [state for _, state, _, _ in _told(rebuilt)]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    assert rebuilt.study.trials[1].value == 0.0


def test_rebuilt_search_asks_unfinished_points_first_under_their_old_numbers(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()
    asked = [bench.ask(search) for _ in range(4)]
    bench.train(asked[1][1])  # its row is written, but the driver is killed before it hears of it

    rebuilt = bench.start()
    again = [bench.ask(rebuilt)[1] for _ in range(4)]

    assert [group.point for group in again] == [0, 2, 3, 4]
    assert again[:3] == [asked[0][1], asked[2][1], asked[3][1]]


def test_rebuilt_search_trains_only_the_members_without_a_row(tmp_path):
    bench = Bench(tmp_path)
    _, group = bench.ask(bench.start())
    bench.train(dataclasses.replace(group, trials=group.trials[:3]))

    _, again = bench.ask(bench.start())

    assert again.group_id == group.group_id
    assert again.trials == group.trials[3:]


def test_rebuilt_search_goes_on_as_the_undisturbed_one(tmp_path):
    disturbed, undisturbed = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    for bench in (disturbed, undisturbed):
        bench.folder.mkdir()
    search = undisturbed.start()
    for _ in range(6):
        undisturbed.step(search)

    for _ in range(6):
        last = disturbed.start()
        disturbed.step(last)

    assert _told(last) == _told(search)


def test_stopped_point_is_told_as_pruned_with_its_last_value(tmp_path):
    space = dataclasses.replace(
        SPACE, arms=("full",), num_seeds=1, search=Search(num_points=3, early_stopping=True)
    )
    bench = Bench(tmp_path, space)
    search = bench.start()

    group = bench.step(search, "stopped")

    for told in (search, bench.start()):
        (trial,) = told.study.trials
        assert trial.state == TrialState.PRUNED
        assert trial.intermediate_values == {
            2: bench.rows[group.trials[0].trial_id]["val_accuracy"]
        }


def test_lost_group_is_failed_now_and_asked_again_at_the_next_start(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()
    name, lost = bench.ask(search)

    search.on_trial_complete(name, error=True)

    assert search.study.trials[0].state == TrialState.FAIL
    assert bench.ask(bench.start())[1] == lost


def test_repeated_point_is_told_from_rows_and_not_trained_again(tmp_path):
    bench = Bench(tmp_path, DISCRETE)
    search = bench.start()

    bench.step(search)

    assert bench.ask(search)[1] == Searcher.FINISHED
    assert len({trial.value for trial in search.study.trials}) == 1
    assert len(search.study.trials) == 6


def test_repeated_point_waits_for_its_running_twin(tmp_path):
    bench = Bench(tmp_path, DISCRETE)
    search = bench.start()
    name, group = bench.ask(search)

    assert bench.ask(search)[1] == Searcher.FINISHED
    assert search.num_left == 6

    bench.train(group)
    search.on_trial_complete(name, {})
    assert search.num_left == 0


def test_points_that_share_a_control_train_it_once(tmp_path):
    axes = {"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": LAMBDA}
    bench = Bench(tmp_path, dataclasses.replace(SPACE, axes=axes))
    search = bench.start()

    first, second = bench.ask(search)[1], bench.ask(search)[1]

    assert [t.arm for t in first.trials].count("control") == 2
    assert [t.arm for t in second.trials] == ["full", "full"]


def test_point_whose_values_do_not_go_together_is_failed_without_a_group(tmp_path):
    axes = {**SPACE.axes, "warmup_epochs": ChoiceAxis(choices=(0, 90))}
    bench = Bench(tmp_path, dataclasses.replace(SPACE, axes=axes, search=Search(num_points=8)))
    search = bench.start()

    while bench.ask(search)[1] != Searcher.FINISHED:
        pass

    failed = [t for t in search.study.trials if t.state == TrialState.FAIL]
    assert {t.params["warmup_epochs"] for t in failed} == {90}


def test_search_with_two_objectives_raises_accuracy_and_lowers_memorization(tmp_path):
    both = Search(num_points=2, objectives=("val_accuracy", "memorization"))
    bench = Bench(tmp_path, dataclasses.replace(SPACE, search=both))
    search = bench.start()

    bench.step(search)

    assert search.study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert len(bench.start().study.trials[0].values) == 2


def test_sampler_draws_another_point_each_time_and_the_same_for_the_same_seed(tmp_path):
    params = []
    for name in ("a", "b"):
        bench = Bench(tmp_path / name)
        bench.folder.mkdir()
        search = bench.start()
        for _ in range(4):
            bench.step(search)
        params.append([tuple(t.params.values()) for t in search.study.trials])

    assert params[0] == params[1]
    assert len(set(params[0])) == 4


def test_point_with_all_its_rows_is_told_without_being_trained(tmp_path):
    bench = Bench(tmp_path / "first", DISCRETE)
    bench.folder.mkdir()
    bench.step(bench.start())
    bench.folder = tmp_path / "second"
    bench.folder.mkdir()

    search = bench.start()

    assert bench.ask(search)[1] == Searcher.FINISHED
    assert search.num_left == 0


def test_a_space_walks_its_grid_in_groups_of_one() -> None:
    space = SearchSpace(axes={"lr": LogAxis(low=0.01, high=1.0, num_points=3)}, num_seeds=2)

    walk = tune_grid(space)

    assert len(walk["group_id"]["grid_search"]) == 6
