"""Passwords, tokens and the environment are kept out of what a sweep leaves and says."""

import json
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking import mlflow_records, mlflow_ui
from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.mlflow_store import check_store, store_error
from rlp_sweeps.tracking.mlflow_sweep import _parent_tags
from rlp_sweeps.tracking.run_directory import build_manifest

SECRET = "s3cr3t-p@ss"
ADDRESSES = {
    "http://me:s3cr3t-p@ss@host:5000/x": "http://host:5000/x",
    "http://me:s3cr3t-p%40ss@host": "http://host",
    "http://me:s3cr3t-p@ss@[::1]:5000": "http://[::1]:5000",
    "http://me:s3cr3t-p@ss@[::1:5000": "http://[::1:5000",
    "http://me:s3cr3t/x@host:5000/x": "http://host:5000/x",
    "postgresql+psycopg2://me@host/db?password=s3cr3t-p%40ss": "postgresql+psycopg2://host/db?password=***",
    "https://host/mlflow?a=b&token=s3cr3t-p@ss#x": "https://host/mlflow?a=***&token=***#x",
    "https://host:5000/x": "https://host:5000/x",
    "https://host:5000/@x": "https://host:5000/@x",
    "sqlite:////data/a@b/mlflow.db": "sqlite:////data/a@b/mlflow.db",
}  # fmt: skip
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": f"{SECRET}-1",
    "MLFLOW_TRACKING_PASSWORD": f"{SECRET}-2",
    "RAY_AUTH_TOKEN": f"{SECRET}-3",
    "WANDB_API_KEY": f"{SECRET}-4",
    "PGPASSWORD": f"{SECRET}-5",
}


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_an_address_is_shown_without_what_opens_it(address: str, shown: str) -> None:
    assert without_password(address) == shown
    assert without_password(shown) == shown


@pytest.mark.parametrize("address", [a for a in ADDRESSES if SECRET in unquote(a)])
def test_what_a_store_says_of_its_address_is_cleaned(address: str) -> None:
    said = f"could not reach {address} (tried twice: '{address}'), password {SECRET} was refused"

    sentence = str(store_error(address, ValueError(said)))

    assert "s3cr3t" not in sentence
    assert "was refused" in sentence


@pytest.mark.parametrize("address", ["file://me:s3cr3t-p@ss@host/x", "http://me:s3cr3t@[::1:5000"])
def test_a_wrong_address_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(TrackingError) as refusal:
        check_store(address)

    assert "s3cr3t" not in str(refusal.value)


def test_manifest_and_tags_hold_neither_environment_nor_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["rlp-sweeps", "--tracking-uri", f"http://me:{SECRET}@host"])
    config = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=0)

    manifest = build_manifest(plan_id="p", sweep_name="s", space={}, configs=[config])
    tags = mlflow_records.tags_of(config.trial_id, config.to_dict())

    written = json.dumps([manifest, tags, _parent_tags("s", manifest)])
    assert SECRET not in written
    assert not [name for name in ENVIRONMENT if name in written]


def test_the_ui_names_its_store_to_its_server_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command line is public on its machine, an environment is not."""
    commands = []

    class Server:
        def __init__(self, command: list[str], **options: object) -> None:
            commands.append(command)
            raise InterruptedError

    monkeypatch.setattr(mlflow_ui.subprocess, "Popen", Server)

    with (
        pytest.raises(InterruptedError),
        mlflow_ui.running_ui(f"postgresql://me:{SECRET}@host/db"),
    ):
        pass

    (command,) = commands
    assert SECRET not in " ".join(command)
    assert command[command.index("--host") + 1] == "127.0.0.1"
