"""What is said when Ray ends the driver.

Ray's core ends a driver's process on the spot, without an exception, when the cluster that it is
connected to goes away. A small process waits beside the driver and then says what the driver no
longer can. It runs this file alone, so that only the standard library is imported here.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_DONE = b"done"
_PATIENCE_S = 2.0  # to connect
_STOPPING_S = 10.0  # from a cluster's first lost connection to its end


@contextlib.contextmanager
def farewell(directory: Path, *, address: str | None) -> Iterator[Callable[[], None]]:
    """Say on stderr how to resume, should Ray end this process within the block.

    A driver that ends in any other way has its own words, so that nothing is added to them.

    Args:
        directory: The run directory that the sentence names.
        address: The cluster's address as the user gave it; None: the sweep's own cluster.

    Yields:
        What starts the witness; to be called once this process is connected to its cluster. The
        block holds the connection's end too: Ray may end the process in the midst of it.
    """
    witnesses: list[subprocess.Popen[bytes]] = []
    try:
        yield lambda: witnesses.append(_witness(directory, address))
    finally:
        for witness in witnesses:
            with contextlib.suppress(BrokenPipeError):  # somebody has killed it
                witness.communicate(_DONE)


def _witness(directory: Path, address: str | None) -> "subprocess.Popen[bytes]":
    """Start the process that waits beside this one, which is connected to a cluster."""
    import ray

    context = ray.get_runtime_context()
    here = context.get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray gives no types
    (raylet,) = (node["RayletSocketName"] for node in nodes if node["NodeID"] == here)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, raylet, context.gcs_address, str(directory)]
        + ([] if address is None else [address]),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the driver
    )


def sentence_of(directory: str, address: str | None) -> str:
    """Return what is said of a cluster that went away under a sweep.

    A cluster of the sweep's own also goes when its driver is killed, soon enough to be found gone.
    """
    if address is None:
        what, option = "this sweep's driver and its own Ray cluster were ended from outside", ""
    else:
        what = (
            f"the Ray cluster at {address!r} went away, and Ray has ended this sweep's driver with "
            "it"
        )
        option = " --address ADDR"
    return (
        f"rlp-sweeps: {what}; what is finished is kept, and "
        f"`rlp-sweeps resume {directory}{option}` goes on from there."
    )


def is_gone(raylet: str, gcs_address: str) -> bool:
    """Return whether the cluster's process on this machine, or its head, has stopped listening.

    Args:
        raylet: Path of the socket of the cluster's process on this machine.
        gcs_address: ``host:port`` of the head.
    """
    host, _, port = gcs_address.rpartition(":")
    try:
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(_PATIENCE_S)
            local.connect(raylet)
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S):
            return False
    except OSError:
        return True


def _wait_beside(raylet: str, gcs_address: str, directory: str, address: str | None = None) -> None:
    """Wait until the driver is done or gone; stdin ends with it."""
    if sys.stdin.buffer.read() == _DONE:
        return
    # a cluster that is stopped listens for a while longer; one of the sweep's own follows a killed
    # driver, so that it must have gone before
    deadline = time.monotonic() + (0.0 if address is None else _STOPPING_S)
    while not (gone := is_gone(raylet, gcs_address)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if gone:
        print(sentence_of(directory, address), file=sys.stderr, flush=True)


if __name__ == "__main__":
    _wait_beside(*sys.argv[1:])
