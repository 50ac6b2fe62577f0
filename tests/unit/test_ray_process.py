import ctypes
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlp_sweeps.errors import ClusterError
from rlp_sweeps.orchestration import resources
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


@pytest.fixture
def _sigterm_as_ctrl_c():
    """As the command line treats it; SIGINT as in a shell's foreground, in its background too."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGINT, interrupt)


class Ray(SimpleNamespace):
    """Does to SIGTERM what Ray does: an exit as it begins, the system's default as it ends."""

    def shutdown(self) -> None:
        ctypes.CDLL(None).signal(signal.SIGTERM, None)


@pytest.mark.usefixtures("_sigterm_as_ctrl_c")
def test_sigterm_after_rays_end_interrupts_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Ray())
    monkeypatch.setattr(resources, "_connect", lambda *_args: None)
    monkeypatch.setattr(resources, "alive_nodes", lambda: [{"CPU": 2.0}])

    with resources.ray_session(RunOptions(), GroupResources(num_cpus=1, num_gpus=0)):
        pass

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("_sigterm_as_ctrl_c")
def test_sigterm_while_ray_starts_interrupts_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def connect(*_args: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(resources, "_connect", connect)

    with pytest.raises(KeyboardInterrupt):
        resources._init_ray(RunOptions(), Path())
