"""The manifest of a sweep: what was planned, with which code, on which machine.

It holds no environment variables and no command line, because either may carry a password.
"""

import os
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import rlp_sweeps
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ConfigError, RunDirectoryError
from rlp_sweeps.schema import SCHEMA_VERSION

_PACKAGES = (
    "rlp-sweeps",
    "torch",
    "torchvision",
    "ray",
    "optuna",
    "mlflow",
    "polars",
    "pyarrow",
    "numpy",
)
_GIT_TIMEOUT_S = 10
_KINDS: dict[str, type[dict[Any, Any]] | type[list[Any]]] = {
    **dict.fromkeys(("packages", "machine", "settings", "data", "space"), dict),
    **dict.fromkeys(("trials", "follow_ups"), list),
}
_SWEEP_ID = re.compile("[0-9a-f]{32}")


def build_manifest(
    *,
    plan_id: str,
    sweep_name: str,
    space: Mapping[str, Any],
    configs: Iterable[TrialConfig],
    settings: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the manifest of a new sweep, ready for JSON.

    Args:
        plan_id: Identity of the plan: the same plan in the same directory is the same sweep.
        sweep_name: Shown to people, for example the recipe's name.
        space: The resolved search space, as `SearchSpace.to_dict` returns it.
        configs: Every planned trial's configuration; none where Optuna chooses them.
        settings: How the sweep is carried out (engine, group size, …); must hold no secret.
        data: Fingerprint by data set (`data_fingerprint`), of those whose name does not tell what
            they hold.

    Returns:
        Schema version, plan, machine and versions. `sweep_id` is new at every call: it tells two
        directories of one plan apart.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep_id": uuid.uuid4().hex,
        "sweep_name": sweep_name,
        "plan_id": plan_id,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "git": _git_state(),
        "packages": package_versions(),
        "machine": _machine(),
        "settings": dict(settings or {}),
        "data": dict(data or {}),
        "space": dict(space),
        "trials": [_entry(config) for config in configs],
    }


def check_manifest(manifest: Mapping[str, Any], *, where: Path) -> None:
    """Refuse a manifest that cannot be read; keys that it does not know are passed over.

    Raises:
        RunDirectoryError: It states no version or a newer one, or names its sweep otherwise than
            `build_manifest`: folders of the MLflow store are named after it.
    """
    version, sweep_id = manifest.get("schema_version"), manifest.get("sweep_id")
    if type(version) is not int:
        msg = f"{where} must state `schema_version`, but got {version!r}."
        raise RunDirectoryError(msg)
    if version > SCHEMA_VERSION:
        msg = (
            f"`schema_version <= {SCHEMA_VERSION}` must hold, but {where.parent} was written with "
            f"schema_version={version}; use a newer rlp-sweeps."
        )
        raise RunDirectoryError(msg)
    if not (isinstance(sweep_id, str) and _SWEEP_ID.fullmatch(sweep_id)):
        msg = (
            f"`sweep_id` of {where} must be 32 hexadecimal digits, but got {sweep_id!r}; write new "
            "ones there if the sweep is yours."
        )
        raise RunDirectoryError(msg)
    for name, kind in _KINDS.items():
        if not isinstance(manifest.get(name, kind()), kind):
            word = {dict: "object", list: "list"}[kind]
            msg = f"`{name}` of {where} must be a JSON {word}, but got {manifest[name]!r:.80}."
            raise RunDirectoryError(msg)


def extend_manifest(
    manifest: Mapping[str, Any],
    configs: Iterable[TrialConfig],
    *,
    why: str,
    extends: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the manifest of a sweep that goes on with trials of a follow-up or an extension.

    Args:
        manifest: As it stands.
        configs: New trials; those that are planned already are left out.
        why: What they are for, one sentence.
        extends: What an extension adds to the search space; None for a follow-up.
    """
    planned = {entry["trial_id"] for entry in manifest["trials"]}
    added = [entry for entry in map(_entry, configs) if entry["trial_id"] not in planned]
    follow_up = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "why": why,
        "trial_ids": [entry["trial_id"] for entry in added],
        **({} if extends is None else {"extends": dict(extends)}),
    }
    return {
        **manifest,
        "follow_ups": [*manifest.get("follow_ups", []), follow_up],
        "trials": [*manifest["trials"], *added],
    }


def followed_up(manifest: Mapping[str, Any]) -> list[list[TrialConfig]]:
    """Return the trials of each follow-up, in the order they were planned.

    Raises:
        RunDirectoryError: A trial's configuration is not what its id says.
    """
    configs = {entry["trial_id"]: entry["config"] for entry in manifest.get("trials", [])}
    return [
        [_checked(trial_id, configs) for trial_id in follow_up["trial_ids"]]
        for follow_up in manifest.get("follow_ups", [])
    ]


def _checked(trial_id: str, configs: Mapping[str, Mapping[str, Any]]) -> TrialConfig:
    try:
        config = TrialConfig.from_dict(configs[trial_id])
    except (KeyError, ConfigError) as error:
        msg = f"a follow-up's trial must be planned in the manifest: {trial_id!r} is not ({error})."
        raise RunDirectoryError(msg) from error
    if config.trial_id != trial_id:
        msg = (
            f"the manifest's trial {trial_id!r} must be what its id says, but its configuration is "
            f"that of {config.trial_id!r}; resume it with the version that wrote it."
        )
        raise RunDirectoryError(msg)
    return config


def _entry(config: TrialConfig) -> dict[str, Any]:
    return {"trial_id": config.trial_id, "config": config.to_dict()}


@cache
def code_version() -> str:
    """Return the version of rlp-sweeps, with the git commit of its checkout where it has one.

    Returns:
        For example ``0.1.0``, ``0.1.0+g1a2b3c4d5e6f`` or, with uncommitted changes,
        ``0.1.0+g1a2b3c4d5e6f.dirty``.
    """
    git = _git_state()
    if git is None:
        return rlp_sweeps.__version__
    dirty = ".dirty" if git["is_dirty"] else ""
    return f"{rlp_sweeps.__version__}+g{git['commit'][:12]}{dirty}"


@cache
def _git_state() -> dict[str, Any] | None:
    """Return commit and dirty flag of the package's own checkout; None for an installed package."""
    checkout = Path(rlp_sweeps.__file__).resolve().parents[1]
    top = _git(checkout, "rev-parse", "--show-toplevel")
    commit = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    if top is None or commit is None or changes is None or Path(top).resolve() != checkout:
        return None
    return {"commit": commit, "is_dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_versions() -> dict[str, str | None]:
    """Return the versions of the packages that numbers depend on; None where one is absent."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hostname": platform.node(),
        "num_cpus": os.cpu_count(),
        "gpus": _gpu_names(),
    }


def _gpu_names() -> list[str] | None:
    """Return the names of the GPUs that torch sees; None where torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
