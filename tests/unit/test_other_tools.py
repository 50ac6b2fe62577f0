import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest

pd = pytest.importorskip("pandas")

from benchmarks.options import ROOT  # noqa: E402
from benchmarks.other_tools import tools  # noqa: E402
from benchmarks.other_tools.__main__ import parse_tools, table  # noqa: E402
from benchmarks.other_tools.effects import effects  # noqa: E402
from benchmarks.other_tools.processes import Ended  # noqa: E402
from benchmarks.other_tools.study import ARMS, grid, train  # noqa: E402
from benchmarks.other_tools.tools import TOOLS, count_lines  # noqa: E402

NEEDS = {"optuna": "optuna", "hydra": "hydra", "ray_tune": "ray", "syne_tune": "syne_tune"}


def trained(**point):
    epochs = []
    train(**point, report=lambda epoch, metrics: epochs.append((epoch, metrics)))
    return epochs


@pytest.mark.parametrize("arm", ARMS)
def test_the_shared_study_reports_every_epoch_of_every_arm(arm):
    (epoch, metrics), *rest = trained(lr=0.01, arm=arm, seed=0, num_epochs=1)

    assert (epoch, rest) == (1, [])
    assert math.isfinite(metrics["train_loss"])
    assert 0 <= metrics["random_label_accuracy"] <= 1 > metrics["test_accuracy"] > 0


def test_the_shared_study_gives_equal_numbers_for_equal_points():
    point = {"lr": 0.05, "arm": "full", "seed": 1, "num_epochs": 1}

    assert trained(**point) == trained(**point)


def test_the_shared_study_knows_nothing_of_the_package():
    code = "import sys, benchmarks.other_tools.study; print('rlp_sweeps' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )

    assert done.stdout == "False\n"


def test_the_users_effects_are_paired_by_seed():
    points = [point for point in grid() if point["lr"] == 0.05]
    added = {"control": 0.0, "full": 0.3, "class_term": 0.2, "uniform_term": 0.1}
    rows = [{**point, "test_accuracy": point["seed"] + added[point["arm"]]} for point in points]

    found = effects(pd.DataFrame(rows))

    assert found.estimate.to_dict() == pytest.approx(
        {"total": 0.3, "class_term": 0.2, "uniform_term": 0.1}
    )
    assert (found.high - found.low).max() < 1e-9


def test_the_users_effects_refuse_a_missing_trial():
    rows = [{**point, "test_accuracy": 0.5} for point in grid()[1:]]

    with pytest.raises(ValueError, match="every arm must have"):
        effects(pd.DataFrame(rows))


@pytest.mark.parametrize("name", TOOLS)
def test_every_tools_files_are_there_and_counted(name):
    assert all((Path(ROOT) / tools.HERE / file).exists() for file in TOOLS[name].files)
    assert TOOLS[name].num_lines() > 0


@pytest.mark.parametrize("name", NEEDS)
def test_every_tools_script_imports_where_its_tool_is(name):
    pytest.importorskip(NEEDS[name])

    module = importlib.import_module(f"benchmarks.other_tools.with_{name}")

    assert module.__doc__.startswith("The study in ")


def test_lines_are_counted_without_comments_and_docstrings(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        '"""One."""\n\n# two\ndef f():\n    """Three.\n\n    Four.\n    """\n    return 1\n'
    )

    assert count_lines(path) == 2


def test_the_table_tells_medians_over_rounds():
    runs = [
        Ended(exit_status=0, wall_s=s, first_s=s / 2, at_signal=None, output="") for s in (1, 9, 4)
    ]

    row = table({"optuna": runs}).splitlines()[-1]

    assert row.startswith("| Optuna | ")
    assert row.endswith(" | 2.0 | 4.0 | 3 |")


def test_unknown_tools_are_refused():
    with pytest.raises(ValueError, match="must name tools out of"):
        parse_tools("optuna,excel")


def test_the_comparison_tells_the_lines_that_are_there():
    rows = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").splitlines()

    written = {row.split(" | ")[0]: row.split(" | ")[1:6] for row in rows if row.startswith("| ")}

    order = [TOOLS[name] for name in ("rlp-sweeps", "optuna", "ray_tune", "syne_tune", "hydra")]
    assert written["| lines, all"] == [str(tool.num_lines()) for tool in order]
    assert written["| of them for the tool"] == [str(tool.num_own_lines()) for tool in order]
