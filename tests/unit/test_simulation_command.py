import json

import pytest

from benchmarks.simulation.__main__ import main, parse_seeds
from benchmarks.simulation.report import INTERVALS, to_markdown


def make_record(**values):
    record = {
        "level": "pooled",
        "estimator": "arms",
        "effect": "effect_lr",
        "rlp_lambda": 1.0,
        "num_seeds": 3,
        "truth": -0.0319,
        "bias": -0.00001,
        "bias_se": 0.0001,
        "rmse": 0.002,
        "width": 0.01,
        "coverage": 0.948,
        "coverage_own": None,
        "coverage_worst": 0.9,
        "lr_worst": None,
        "missing": 0.0,
    }
    return record | values


def make_content(records):
    return {
        "machine": {"command": "x"},
        "num_sweeps": 2000,
        "seeds": (3,),
        "scenarios": {"base": {"effects": records, "tests": []}},
    }


def test_a_row_shows_points_percent_and_the_worst_cell():
    records = [make_record(), make_record(level="cell", coverage=0.9, lr_worst=0.64)]

    line = to_markdown(make_content(records)).splitlines()[7]

    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == len(INTERVALS)
    assert cells[3:] == [
        *("-3.19", "0.00 ± 0.01", "0.20", "1.00"),
        *("94.8", "–", "90.0", "90.0 (0.64)", "0.0 / 0.0"),
    ]


def test_an_effect_that_is_never_there_is_a_row_of_dashes():
    nothing = dict.fromkeys(("truth", "bias", "rmse", "width", "coverage", "coverage_worst"))
    records = [make_record(**nothing, missing=1.0, level=level) for level in ("pooled", "cell")]

    line = to_markdown(make_content(records)).splitlines()[7]

    assert line.count("–") == 8
    assert line.endswith("| 100.0 / 100.0 |")


def test_the_error_of_a_coverage_stands_above_the_tables():
    text = to_markdown(make_content([make_record(), make_record(level="cell")]))

    assert "2,000 sweeps" in text
    assert "0.5 points" in text


def test_the_command_prints_tables_and_writes_every_row(capsys, tmp_path):
    output = tmp_path / "study.json"

    main(["--sweeps", "3", "--seeds", "2,3", "--scenario", "null", "--output", str(output)])

    content = json.loads(output.read_text(encoding="utf-8"))
    assert list(content["scenarios"]) == ["null"]
    assert {row["num_seeds"] for row in content["scenarios"]["null"]["effects"]} == {2, 3}
    assert "| null | arms | effect_total |" in capsys.readouterr().out


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="seeds >= 2"):
        parse_seeds("1,3")
