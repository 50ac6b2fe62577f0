"""What deploy/mlflow promises: loopback, health, no secrets, the locked versions."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "mlflow"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_only_mlflow_is_published_and_on_loopback() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}

    assert published == {
        "postgres": [],
        "mlflow": ["${MLFLOW_BIND:-127.0.0.1}:${MLFLOW_PORT:-5000}:5000"],
    }


def test_passwords_come_from_the_environment_and_must_be_set() -> None:
    passwords = [
        value
        for service in SERVICES.values()
        for name, value in service["environment"].items()
        if "PASSWORD" in name
    ]

    assert passwords == ["${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}"] * 2


def test_the_server_script_listens_on_loopback_unless_told_otherwise() -> None:
    script = (DEPLOY / "serve.sh").read_text()

    assert 'host="${MLFLOW_HOST:-127.0.0.1}"' in script
    assert re.search(r"://\S*:\S*@", script) is None


@pytest.mark.parametrize("package", ["mlflow", "psycopg2-binary"])
def test_the_image_has_the_locked_version(package: str) -> None:
    image = (DEPLOY / "Dockerfile").read_text()
    (locked,) = re.findall(rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)

    assert re.findall(rf"{package}==(\S+)", image) == [locked]
