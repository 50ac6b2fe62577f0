"""The built wheel, installed outside the checkout, is the whole program."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rlp_sweeps import __version__
from rlp_sweeps.recipes import list_recipes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ("rlp_sweeps", "search_spaces", "analysis")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the wheel's packages; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline"]
    subprocess.run(
        [*command, "--target", str(folder), str(wheel)],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


def run_outside(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where only the installed wheel, not the checkout, can be imported first."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_wheel_holds_the_three_packages_their_templates_and_the_license(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.split("/")[0] for name in names}
    assert tops == {*PACKAGES, f"rlp_sweeps-{__version__}.dist-info"}
    templates = [path.name for path in (ROOT / "analysis" / "templates").iterdir()]
    assert {f"analysis/templates/{name}" for name in templates} <= set(names)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }

    assert modules <= set(zipfile.ZipFile(wheel).namelist())


def test_installed_packages_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(PACKAGES)}; print(*[m.__file__ for m in ({', '.join(PACKAGES)})])"

    done = run_outside(installed, tmp_path, "-c", code)

    assert done.stdout.split() == [str(installed / name / "__init__.py") for name in PACKAGES]


def test_installed_command_lists_the_recipes(installed: Path, tmp_path: Path) -> None:
    done = run_outside(installed, tmp_path, "-m", "rlp_sweeps", "spaces")

    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line[0] != " "] == list_recipes()


def test_installed_command_tells_its_version(installed: Path, tmp_path: Path) -> None:
    done = run_outside(installed, tmp_path, "-m", "rlp_sweeps", "--version")

    assert done.stdout == f"rlp-sweeps {__version__}\n"


def test_installed_command_refuses_a_wrong_request(installed: Path, tmp_path: Path) -> None:
    done = run_outside(installed, tmp_path, "-m", "rlp_sweeps", "run", "quickstat")

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "rlp-sweeps: no recipe 'quickstat'; did you mean 'quickstart'?"
    ]
