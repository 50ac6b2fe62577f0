"""What a machine has of what a sweep needs: for new users, and for reports of what went wrong."""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlp_sweeps.errors import DatasetError, RlpSweepsError, TrackingError
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources, ray_session
from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.manifest import code_version, package_versions

MIN_FREE_BYTES = 1_000_000_000
"""Less free room than this is said to be too little."""

_GENERATED = {"synthetic", "image_folder"}
"""Data sets that have no folder of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        is_well: Whether a sweep can do with it; None where it says nothing of that.
        found: What was found, and where need be the way out.
    """

    name: str
    is_well: bool | None
    found: str

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


def examine(
    *, folder: Path, data_dir: Path, tracking_uri: str | None, starts_ray: bool
) -> Iterator[Check]:
    """Yield what was found, one thing after another; no host and no user is named.

    Args:
        folder: Where run directories are to lie.
        data_dir: Where data sets are looked for.
        tracking_uri: The MLflow store; None: the default one, a file beside the run directories.
        starts_ray: Start a Ray cluster of one core, and end it.
    """
    yield Check(name="rlp-sweeps", is_well=None, found=code_version())
    yield Check(name="python", is_well=None, found=f"{platform.python_version()}, {_system()}")
    yield _packages()
    yield Check(name="cores", is_well=None, found=str(len(os.sched_getaffinity(0))))
    yield _guarded("devices", _devices)
    yield _guarded("disk", lambda: _room(folder))
    yield _guarded("data sets", lambda: _data_sets(data_dir))
    yield _guarded("MLflow store", lambda: _store(tracking_uri))
    if starts_ray:
        yield _guarded("Ray", _ray)


def _guarded(name: str, look: Callable[[], tuple[bool | None, str]]) -> Check:
    """Return what was found; what goes wrong while looking is a finding."""
    try:
        is_well, found = look()
    except (RlpSweepsError, OSError, RuntimeError, ImportError) as error:
        is_well, found = False, " ".join(str(error).split())
    return Check(name=name, is_well=is_well, found=found)


def _system() -> str:
    return f"{platform.system()} {platform.release()} ({platform.machine()})"


def _packages() -> Check:
    versions = package_versions()
    missing = [name for name, version in versions.items() if version is None]
    said = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if missing:
        said += f"; not installed: {missing}"
    return Check(name="packages", is_well=not missing, found=said)


def _devices() -> tuple[bool | None, str]:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return None, ", ".join(["cpu", *names])


def _room(folder: Path) -> tuple[bool, str]:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    is_writable = os.access(there, os.W_OK)
    state = "" if is_writable else ", but it cannot be written"
    return is_writable and free >= MIN_FREE_BYTES, f"{free / 1e9:.3g} GB free at {there}{state}"


def _data_sets(data_dir: Path) -> tuple[bool | None, str]:
    from rlp_sweeps.training.dataset_sources import SOURCES

    found, absent = [], []
    for name, source in SOURCES.items():
        if name not in _GENERATED:
            try:
                source.describe(data_dir)
                found.append(name)
            except DatasetError:
                absent.append(name)
    said = f"found {', '.join(found)}"
    if absent:
        said += f"; not in {data_dir}: {', '.join(absent)} (--data-dir FOLDER)"
    return None, said


def _store(tracking_uri: str | None) -> tuple[bool | None, str]:
    from rlp_sweeps.tracking.mlflow_tracker import check_store

    if tracking_uri is None:
        return None, "mlflow.db beside the run directory"
    try:
        check_store(tracking_uri)
    except TrackingError as error:
        return False, str(error)
    return True, f"{without_password(tracking_uri)} answers"


def _ray() -> tuple[bool, str]:
    options = RunOptions(num_cpus=1)
    begun = time.monotonic()
    with ray_session(options, GroupResources.of(options, device="cpu")):
        started_s = time.monotonic() - begun
    return True, f"a cluster of one core started in {started_s:.1f} s and ended"
