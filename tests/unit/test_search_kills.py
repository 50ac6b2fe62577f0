"""A search that is killed anywhere: the study is rebuilt from every prefix of what was on the disk.

Points go to the log before their trials are trained, rows come one by one. A kill leaves a prefix
of these writes, perhaps with a torn last line. Whatever the prefix, the rebuilt study must have
told each point whose rows are all there, once, and no other, and must end as an undisturbed one.
"""

import dataclasses

import pytest
from optuna.trial import TrialState
from test_search_batches import SPACE, Bench

from rlp_sweeps.orchestration.points import PointLog, point_members
from rlp_sweeps.spaces import Search

SMALL = dataclasses.replace(SPACE, search=Search(num_points=6))


class Recorder(Bench):
    """A bench that keeps every write in its order: the log's bytes and each row."""

    def __init__(self, folder, *, at_a_time):
        super().__init__(folder, SMALL, at_a_time=at_a_time)
        self.writes, self.trained = [], []

    def step(self, search, status="completed"):
        name, group = self.ask(search)
        if group is None:
            return None
        log = PointLog.of(self.folder).path.read_bytes()
        if ("log", log) not in self.writes:
            self.writes.append(("log", log))
        for trial in group.trials:
            self.train([trial], status)
            self.trained.append(trial.trial_id)
            self.writes.append(("row", trial.trial_id))
        search.on_trial_complete(name, {})
        return group

    def finish(self, search):
        while self.step(search) is not None:
            pass
        return _study(search)


def _study(search):
    return [(t.number, t.state, t.params, t.values) for t in search.study.trials]


def _after_kill(whole, folder, num_writes, torn):
    """Return a bench that finds the first writes of another one, the next line half written."""
    bench = Recorder(folder, at_a_time=whole.at_a_time)
    log = b""
    for kind, value in whole.writes[:num_writes]:
        if kind == "log":
            log = value
        else:
            bench.rows[value] = whole.rows[value]
    following = [v for kind, v in whole.writes[num_writes : num_writes + 1] if kind == "log"]
    if torn and following:
        log = following[0][: len(log) + 25]
    (folder / "search").mkdir()
    PointLog.of(folder).path.write_bytes(log)
    return bench


def _open_and_told(search, bench):
    """Return the numbers of points whose rows are all there, of the others, and of told ones."""
    points = PointLog.of(bench.folder).read()
    ids = {p.number: {t.trial_id for t in point_members(SMALL, p.params, p.number)} for p in points}
    whole = {number for number, members in ids.items() if members <= set(bench.rows)}
    told = [t.number for t in search.study.trials if t.state == TrialState.COMPLETE]
    return whole, set(ids) - whole, told


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("at_a_time", [1, 3])
def test_study_after_a_kill_at_any_write_has_told_what_has_rows_and_nothing_else(
    tmp_path, at_a_time, torn
):
    whole = Recorder(tmp_path / "whole", at_a_time=at_a_time)
    undisturbed = whole.finish(whole.start())
    assert len(whole.writes) > 20

    for num_writes in range(len(whole.writes) + 1):
        (folder := tmp_path / f"{num_writes}").mkdir()
        bench = _after_kill(whole, folder, num_writes, torn)
        search = bench.start()

        complete, still_open, told = _open_and_told(search, bench)
        assert sorted(told) == sorted(complete), num_writes
        assert search.num_left == 6 - len(told)
        waiting = [t.number for t in search.study.trials if t.state == TrialState.WAITING]
        assert set(waiting) == still_open
        had = set(bench.rows)
        ended = bench.finish(search)
        assert not had & set(bench.trained), "a trial with a row was trained again"
        assert len(bench.trained) == len(set(bench.trained))
        assert ended == undisturbed, num_writes


def test_log_cut_at_any_byte_still_gives_a_search_that_ends_with_every_point_told_once(tmp_path):
    whole = Recorder(tmp_path / "whole", at_a_time=3)
    whole.finish(whole.start())
    log = PointLog.of(whole.folder).path.read_bytes()

    for num_bytes in range(0, len(log), 17):
        bench = Recorder(tmp_path / f"{num_bytes}", at_a_time=3)
        (bench.folder / "search").mkdir()
        PointLog.of(bench.folder).path.write_bytes(log[:num_bytes])

        ended = bench.finish(bench.start())

        assert [state for _, state, _, _ in ended] == [TrialState.COMPLETE] * 6, num_bytes
        assert [point["number"] for point in bench.logged()] == list(range(6))


def test_study_after_a_second_kill_is_rebuilt_as_after_the_first(tmp_path):
    whole = Recorder(tmp_path / "whole", at_a_time=2)
    undisturbed = whole.finish(whole.start())

    for num_writes in range(0, len(whole.writes) + 1, 3):
        (folder := tmp_path / f"{num_writes}").mkdir()
        bench = _after_kill(whole, folder, num_writes, False)
        bench.step(bench.start())  # and killed once more, before it could tell the rest

        assert bench.finish(bench.start()) == undisturbed, num_writes


def test_search_with_two_groups_at_work_when_killed_tells_neither_twice(tmp_path):
    bench = Recorder(tmp_path / "run", at_a_time=2)
    search = bench.start()
    (_, first), (_, second) = bench.ask(search), bench.ask(search)
    bench.train(second.trials)
    bench.train(first.trials[:3])

    rebuilt = bench.start()

    complete, still_open, told = _open_and_told(rebuilt, bench)
    assert sorted(told) == sorted(complete) == [2, 3]
    assert still_open == {0, 1}
    bench.finish(rebuilt)
    states = [t.state for t in rebuilt.study.trials]
    assert states == [TrialState.COMPLETE] * 6


@pytest.mark.parametrize("at_a_time", [1, 3])
@pytest.mark.parametrize("max_trials", [4, 11, 12, 13])
def test_search_with_a_budget_of_trials_asks_the_points_of_an_undisturbed_one(
    tmp_path, at_a_time, max_trials
):
    whole = Recorder(tmp_path / "whole", at_a_time=at_a_time)
    undisturbed = whole.finish(whole.start())
    bench = Recorder(tmp_path / "cut", at_a_time=at_a_time)
    num_calls = 0

    while (search := bench.start()).num_left:
        num_calls += 1
        search.trials_left = max(max_trials, search.next_size)
        before = len(bench.trained)
        bench.finish(search)
        assert 0 < len(bench.trained) - before <= max(max_trials, 4 * at_a_time)
        assert search.is_out_of_trials == (search.num_left > 0)

    assert num_calls > 1
    assert _study(search) == undisturbed


def test_group_that_was_paused_leaves_its_points_open(tmp_path):
    bench = Recorder(tmp_path / "run", at_a_time=2)
    search = bench.start()
    name, group = bench.ask(search)
    bench.train(group.trials[:2])

    search.on_trial_complete(name, {})

    assert search.num_left == 6
    _, rest = bench.ask(bench.start())
    assert set(rest.trials) == set(group.trials[2:])


def test_extended_search_asks_the_points_of_the_longer_one(tmp_path):
    longer = Recorder(tmp_path / "longer", at_a_time=1)
    longer.space = dataclasses.replace(SPACE, search=Search(num_points=9))
    whole = longer.finish(longer.start())
    bench = Recorder(tmp_path / "run", at_a_time=1)
    bench.finish(bench.start())

    bench.space = longer.space
    extended = bench.finish(bench.start())

    assert extended == whole
    assert bench.trained == longer.trained
