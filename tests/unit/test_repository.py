"""Files that a code host reads: the workflow, the issue forms, the citation, the hooks."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from doc_pages import ROOT

import rlp_sweeps

CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def steps():
    return read(".github/workflows/ci.yml")["jobs"]["check-and-test"]["steps"]


def test_workflow_runs_what_the_ci_script_runs():
    script = (ROOT / ".ci/run").read_text().splitlines()

    commands = [step["run"] for step in steps() if "run" in step]

    assert [line for line in script if line.startswith("make ")] == commands[:2]


def test_workflow_pins_its_actions_and_uses_no_secrets():
    text = (ROOT / ".github/workflows/ci.yml").read_text()

    pins = [step["uses"].partition("@")[2] for step in steps() if "uses" in step]

    assert pins
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+|[0-9a-f]{40}", pin) for pin in pins)
    assert "secrets." not in text


def test_every_target_that_is_run_stands_in_the_makefile():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

    assert {step["run"].split()[1] for step in steps() if "run" in step} <= set(targets)


def test_hooks_run_what_make_check_runs():
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    hooks = read(".pre-commit-config.yaml")["repos"][0]["hooks"]

    checks = re.findall(r"\$\(BIN\)/(.+)", recipe)

    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == checks


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_form_asks_for_the_version(form):
    body = read(form)["body"]

    labels = " ".join(field["attributes"].get("label", "") for field in body)

    assert "`rlp-sweeps --version`" in labels
    assert len({field.get("id", index) for index, field in enumerate(body)}) == len(body)


def test_citation_names_this_version_and_its_licence():
    citation = read("CITATION.cff")

    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == CONFIG["project"]["version"] == rlp_sweeps.__version__
    assert citation["license"] == CONFIG["project"]["license"]
    assert citation["authors"] == [{"name": "The rlp-sweeps authors"}]
    assert all({"authors", "title", "type"} <= set(work) for work in citation["references"])


def test_settings_of_every_test_run_need_pytest_alone():
    """A GPU machine may have nothing else."""
    absent = ["hypothesis", "moto", "s3fs", "ray", "mlflow"]
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"runpy.run_path({str(ROOT / 'tests/conftest.py')!r})"
    )

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
