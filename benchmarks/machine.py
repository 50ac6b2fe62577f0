"""Where and with what a table was measured."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "rlp-sweeps",
    "torch",
    "ray",
    "optuna",
    "mlflow",
    "polars",
    "pandas",
    "pyarrow",
    "numpy",
    "scikit-learn",
    "joblib",
)


def describe_machine(*, device: str, command: str) -> dict[str, str]:
    """Return the facts that stand above a table, by name; packages that are absent are left out."""
    facts = {
        "command": f"`{command}`",
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{_cpu_name()}, {os.cpu_count()} CPUs, {_memory_gib():.0f} GiB, "
        f"{platform.system()} {platform.machine()}",
        "load at the start": f"{os.getloadavg()[0]:.2f} (1 minute; near 0 on a machine that ran "
        "nothing else)",
        "versions": f"Python {platform.python_version()}, {_versions()}",
    }
    if device.startswith("cuda"):
        import torch

        facts["GPU"] = torch.cuda.get_device_name(device)
    return facts


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown CPU"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
