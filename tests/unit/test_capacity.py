from pathlib import Path
from types import SimpleNamespace

import pytest

from rlp_sweeps.orchestration import capacity, room
from rlp_sweeps.orchestration.capacity import (
    MAX_LOST_NODES,
    MAX_LOST_PROCESSES,
    Capacity,
    allow_for_lost_node,
)
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources

NODE_LOST = "The actor died because its node has died. Node Id: 4f2a"
MACHINE_SILENT = (
    "The actor 75f4 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: "
    "Socket closed rpc_code: 14. The task may or may not have been executed on the actor."
)
PROCESS_LOST = "The actor is dead because its worker process has died. Worker exit type: SYSTEM"


def given_room(*, slots, most=None, is_own=False):
    resources = GroupResources(num_cpus=2.0, num_gpus=0.0)
    return Capacity(resources=resources, slots=slots, most=most, is_own=is_own)


@pytest.mark.parametrize(
    ("slots", "most", "is_own", "at_once", "asked"),
    [
        (4, None, False, 4, 4),
        (4, 2, False, 2, 2),
        (4, 9, False, 4, 9),
        (4, 9, True, 4, 4),
        (0, None, False, 0, 1),
    ],
)
def test_running_cluster_is_asked_for_all_that_the_user_allows(slots, most, is_own, at_once, asked):
    given = given_room(slots=slots, most=most, is_own=is_own)

    assert (given.at_once, given.asked) == (at_once, asked)


def test_limit_follows_machines_that_come_and_go(monkeypatch):
    given = given_room(slots=1)
    limited = given.limit(None)
    monkeypatch.setattr(capacity, "LOOK_EVERY_S", 0.0)

    asked = []
    for nodes in ([{"CPU": 2.0}, {"CPU": 5.0}], [], [{"CPU": 3.0}]):
        monkeypatch.setattr(capacity, "alive_nodes", lambda nodes=nodes: nodes)
        assert given.follow()
        assert not given.follow()
        asked.append((given.slots, limited.max_concurrent))

    assert asked == [(3, 3), (0, 1), (1, 1)]


def fails(trial, text):
    """Let a trial fail as Tune writes it down."""
    with Path(trial.error_file).open("a") as file:
        file.write(f"Failure # 1 (occurred at 2026-01-01)\n{text}\n")
    return allow_for_lost_node(trial)


@pytest.mark.parametrize("machine_lost", [NODE_LOST, MACHINE_SILENT])
def test_only_a_lost_machine_gives_a_group_another_start(tmp_path, machine_lost):
    trial = SimpleNamespace(max_failures=MAX_LOST_PROCESSES, error_file=str(tmp_path / "error.txt"))

    assert not allow_for_lost_node(trial)
    assert not fails(trial, PROCESS_LOST)
    assert fails(trial, machine_lost)
    assert not fails(trial, PROCESS_LOST)  # what was lost before does not count again
    assert trial.max_failures == MAX_LOST_PROCESSES + 1


def test_group_does_not_follow_lost_machines_for_ever(tmp_path):
    trial = SimpleNamespace(max_failures=MAX_LOST_PROCESSES, error_file=str(tmp_path / "error.txt"))

    for _ in range(MAX_LOST_NODES + 5):
        fails(trial, NODE_LOST)

    assert trial.max_failures == MAX_LOST_PROCESSES + MAX_LOST_NODES


@pytest.mark.parametrize(
    ("address", "most", "slots"), [("auto", 9, 9), ("auto", None, 3), (None, 9, 4)]
)
def test_sweep_is_planned_for_what_a_running_cluster_is_asked_for(
    monkeypatch, address, most, slots
):
    monkeypatch.setattr(room, "check_address", lambda address: [{"CPU": 1.0}, {"CPU": 2.0}])

    options = RunOptions(address=address, max_concurrent=most, num_cpus=4)

    assert room.room_for(options, device="cpu").slots == slots
