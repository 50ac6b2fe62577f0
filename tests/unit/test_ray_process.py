import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from rlp_sweeps.errors import ClusterError
from rlp_sweeps.orchestration.attempt import kept_handlers
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources, check_cluster


def test_handlers_that_a_block_replaces_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    with kept_handlers(signal.SIGINT, signal.SIGUSR1):
        signal.signal(signal.SIGINT, lambda number, frame: None)

    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_left_alone_in_a_thread() -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with kept_handlers(signal.SIGINT):
                pass
        except BaseException as error:  # noqa: BLE001  # whatever it is
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert errors == []


def test_process_that_is_connected_to_ray_starts_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))

    with pytest.raises(ClusterError, match=r"call `ray\.shutdown\(\)` first"):
        check_cluster(RunOptions(), GroupResources(num_cpus=1, num_gpus=0))
