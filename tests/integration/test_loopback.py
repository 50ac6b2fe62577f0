"""Servers of a sweep listen on loopback alone: nobody else on the network reaches them."""

import contextlib
import ipaddress
import os
import sys
import tempfile
from pathlib import Path

import pytest

from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources, ray_session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

LISTENS = "0A"


def descendants() -> dict[int, str]:
    """Return this process and all below it, by id, with what they run."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            before, _, after = (entry / "stat").read_text().rpartition(")")
            names[int(entry.name)] = before.partition("(")[2]
            parents[int(entry.name)] = int(after.split()[1])
    found = {os.getpid()}
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return {pid: names[pid] for pid in found}


def listening() -> set[tuple[str, str]]:
    """Return where this process and those below it listen: address and program."""
    owners = {}
    for pid, name in descendants().items():
        with contextlib.suppress(OSError):
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    owners[os.readlink(handle)] = name
    tables = (Path(f"/proc/net/{name}").read_text().splitlines() for name in ("tcp", "tcp6"))
    lines = [line.split() for table in tables for line in table]
    return {
        (address_of(words[1]), owners[f"socket:[{words[9]}]"])
        for words in lines
        if words[3] == LISTENS and f"socket:[{words[9]}]" in owners
    }


def address_of(text: str) -> str:
    """Return an address of /proc/net/tcp, whose words of 32 bits are in the machine's order."""
    words = bytes.fromhex(text.partition(":")[0])
    swapped = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
    found = ipaddress.ip_address(swapped)
    return str(getattr(found, "ipv4_mapped", None) or found)


def test_a_cluster_of_the_sweeps_own_listens_on_loopback_alone() -> None:
    resources = GroupResources(num_cpus=1, num_gpus=0)

    with ray_session(RunOptions(num_cpus=1), resources):
        found = listening()
        folders = list(Path(tempfile.gettempdir()).glob(f"rlp-ray-{os.getpid()}-*"))
        modes = [folder.stat().st_mode & 0o077 for folder in folders]

    assert modes == [0]
    assert {"gcs_server", "raylet"} <= {name for _, name in found}
    assert {p for p in found if not ipaddress.ip_address(p[0]).is_loopback} == set()
