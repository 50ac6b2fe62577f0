import importlib
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import benchmarks.__main__
from benchmarks import groups, step_time
from benchmarks.__main__ import CPU_ROWS, GPU_ROWS, MODULES, main, parse_rows
from benchmarks.document import BEGIN, END, PAGE, with_tables
from benchmarks.groups import _ONLY_ON_CUDA, QUICK_CASES, time_engines
from benchmarks.machine import describe_machine
from benchmarks.networks import MLP
from benchmarks.options import GPU_BUDGET_S, QUICK_BUDGET_S, Options, run_process
from benchmarks.precision import has_amx
from benchmarks.table import Goal, Row, Table, rows_of
from benchmarks.timing import Ratio, interleave, median_of, medians, paired_ratio
from rlp_sweeps.training.engines import ENGINES


def make_row(**values):
    row = {
        "letter": "a",
        "what": "a | b",
        "against": "c",
        "value": Ratio(1.5, 1.2, 1.8, 9),
        "measure": "times faster",
        "goal": Goal(rule=">=", bound=1.1),
        "how": "x 1 ms",
    }
    return Row(**{**row, **values})


@pytest.mark.parametrize(
    ("n", "low", "high"), [(5, None, None), (6, 1, 6), (10, 2, 9), (41, 14, 28)]
)
def test_the_interval_of_a_median_stands_on_order_statistics(n, low, high):
    ratio = median_of([float(i) for i in range(n, 0, -1)])

    assert (ratio.low, ratio.high, ratio.n) == (low, high, n)
    assert ratio.median == (n + 1) / 2


def test_ratios_are_paired_within_a_round():
    ratio = paired_ratio({"slow": [2.0, 20.0, 200.0], "fast": [1.0, 10.0, 100.0]}, "slow", "fast")

    assert ratio == Ratio(2.0, None, None, 3)
    assert str(ratio) == "2"


def test_interleave_takes_turns_and_reverses_every_second_round():
    calls = []
    alternatives = {name: lambda name=name: calls.append(name) for name in "ab"}

    seconds = interleave(alternatives, num_rounds=3, calls_per_round=2)

    assert "".join(calls) == "ab" + "aabb" + "bbaa" + "aabb"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_interleave_starts_no_round_beyond_its_budget_but_the_first():
    seconds = interleave({"a": lambda: None}, num_rounds=9, budget_s=0.0)

    assert len(seconds["a"]) == 1


def test_medians_are_told_with_their_unit():
    assert medians({"a": [0.001, 0.003, 0.002], "b": [2.5]}) == "a 2 ms, b 2.5 s"


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (None, "–"),
        (Goal(rule=">=", bound=1.1), "yes"),
        (Goal(rule=">=", bound=1.4), "yes?"),
        (Goal(rule=">=", bound=1.6), "no?"),
        (Goal(rule="<=", bound=1.1), "no"),
        (Goal(rule="<=", bound=2.0), "yes"),
    ],
)
def test_a_row_tells_whether_its_goal_was_met(goal, verdict):
    assert make_row(goal=goal).verdict == verdict


def test_a_table_survives_json():
    table = Table(machine={"date": "today"}, rows=[make_row(), make_row(goal=None)])

    assert Table.from_json(table.to_json()) == table


def test_markdown_keeps_one_line_a_row_and_escapes_bars():
    text = Table(machine={"date": "today"}, rows=[make_row(how="two\nlines")]).to_markdown()

    assert text.splitlines()[-1] == (
        "| a | a \\| b | c | 9 | 1.5 [1.2, 1.8] times faster | ≥ 1.1 | yes | two lines |"
    )
    assert text.startswith("- date: today\n")


def test_document_replaces_what_stands_between_the_markers():
    table = Table(machine={}, rows=[make_row()])
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    written = with_tables(page, [table])

    assert "old" not in written
    assert table.to_markdown() in written
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert with_tables(written, [table]) == written


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_document_refuses_a_page_without_its_markers(page):
    with pytest.raises(ValueError, match="must hold"):
        with_tables(page, [])


def test_the_performance_page_has_its_markers():
    page = PAGE.read_text(encoding="utf-8")

    assert END in with_tables(page, [Table(machine={}, rows=[make_row()])])


def test_the_performance_page_tells_of_every_row():
    page = PAGE.read_text(encoding="utf-8")

    assert [letter for letter in MODULES if f"\n**{letter}. " not in page] == []


@pytest.mark.parametrize("letter", MODULES)
def test_every_row_has_a_module_that_measures_it(letter):
    module = importlib.import_module(MODULES[letter])

    assert callable(module.measure)
    assert module.__doc__.startswith(f"Row {letter}: ")


def test_every_row_is_measured_on_a_cpu_or_on_a_gpu():
    assert {*CPU_ROWS, *GPU_ROWS} == set(MODULES)


def test_unknown_rows_are_refused():
    with pytest.raises(ValueError, match=r"must name rows out of .* but got \['x'\]"):
        parse_rows("a,x")


def test_the_machine_is_described_with_versions_and_load():
    facts = describe_machine(device="cpu", command="python -m benchmarks")

    assert "torch" in facts["versions"]
    assert "CPUs" in facts["machine"]
    assert facts["load at the start"]


def test_a_process_is_measured_with_its_memory(tmp_path):
    result = run_process(["-c", "x = bytes(50_000_000); print(len(x))"], cwd=tmp_path)

    assert result.stdout == "50000000\n"
    assert result.wall_s > 0


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)ended with 1: .*ValueError: so it is"):
        run_process(["-c", "raise ValueError('so it is')"], cwd=tmp_path)


@pytest.mark.parametrize(("device", "bound"), [("cpu", 1.15), ("cuda", 1.03)])
def test_heads_may_cost_less_on_a_gpu(device, bound, monkeypatch):
    seconds = {"bare": [1.0], "with heads": [1.0]}
    monkeypatch.setattr(step_time, "time_steps", lambda *_, **__: seconds)

    (row,) = step_time.measure(Options(device=device, is_quick=True))

    assert row.goal == Goal(rule="<=", bound=bound)


def test_a_case_has_less_time_on_a_gpu_and_least_in_a_dry_run():
    cpu, gpu = Options(device="cpu"), Options(device="cuda")

    assert [o.budget_s(on_cpu=40) for o in (cpu, gpu)] == [40, GPU_BUDGET_S]
    assert gpu.budget_s(on_cpu=40, on_gpu=24) == 24
    assert Options(device="cuda", is_quick=True).budget_s(on_cpu=40) == QUICK_BUDGET_S


@pytest.mark.parametrize(
    ("cpuinfo", "is_there"),
    [("flags\t\t: fpu amx_bf16 amx_tile\n" * 2, True), ("flags\t\t: fpu\n", False), ("", False)],
)
def test_amx_is_read_from_the_cpus_flags(cpuinfo, is_there, tmp_path):
    (tmp_path / "cpuinfo").write_text(cpuinfo, encoding="utf-8")

    assert has_amx(tmp_path / "cpuinfo") == is_there


@pytest.mark.slow
def test_every_gpu_goal_is_measured_where_only_torch_is_installed(tmp_path):
    absent = ["ray", "mlflow", "optuna", "polars", "pandas", "pydantic", "typer", "rich"]
    output = tmp_path / "bench.json"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from benchmarks.__main__ import main\n"
        f"main(['--rows', {','.join(GPU_ROWS)!r}, '--quick', '--output', {str(output)!r}])"
    )

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    rows = Table.from_json(output.read_text(encoding="utf-8")).rows
    goals = {(row.letter, row.goal.bound) for row in rows if row.goal is not None}
    assert goals >= {("g", 0.25), ("g", 2.0), ("g", 4.0), ("g", 20.0), ("g", 3.0), ("h", 0.02)}
    assert any("compiled" in row.what for row in rows)


def fails():
    yield make_row()
    raise ArithmeticError("this part is broken")


def test_a_part_that_raises_leaves_the_others_and_is_told_of_at_the_end(capsys):
    rows = rows_of([fails, lambda: [make_row(letter="b")]])

    assert [next(rows).letter for _ in range(2)] == ["a", "b"]
    with pytest.raises(RuntimeError, match="1 part\\(s\\) could not be measured"):
        next(rows)
    assert "ArithmeticError: this part is broken" in capsys.readouterr().err


def test_a_row_that_raises_ends_the_command_with_1_after_the_others(monkeypatch, tmp_path, capsys):
    modules = {"a": SimpleNamespace(measure=lambda options: fails())}
    modules["b"] = SimpleNamespace(measure=lambda options: [make_row(letter="b")])
    monkeypatch.setattr(benchmarks.__main__, "MODULES", {"a": "a", "b": "b"})
    monkeypatch.setattr(importlib, "import_module", modules.__getitem__)
    output = tmp_path / "bench.json"

    with pytest.raises(SystemExit, match="1"):
        main(["--rows", "a,b", "--output", str(output)])

    table = Table.from_json(output.read_text(encoding="utf-8"))
    assert [row.letter for row in table.rows] == ["a", "b"]
    assert table.to_markdown() == capsys.readouterr().out


@pytest.mark.parametrize("broken", ["grouped", "other"])
def test_what_raises_in_its_first_epoch_is_left_out_of_a_case(broken, monkeypatch, capsys):
    def breaks(self, *_, **__):
        raise ArithmeticError("broken")

    monkeypatch.setattr(groups, "_refusal", lambda config, engine: None)
    if broken == "grouped":
        monkeypatch.setattr(ENGINES["grouped"], "advance", breaks)
    others = {"other": (lambda: breaks(None)) if broken == "other" else (lambda: None)}
    case = replace(QUICK_CASES[0], network=MLP, engines=("sequential", "grouped", "vmap"))

    seconds = time_engines(case, Options(is_quick=True), others=others)

    assert set(seconds) == {"sequential", "grouped", "vmap", "other"} - {broken}
    assert f"{broken!r} is left out" in capsys.readouterr().err


def test_engines_that_need_cuda_are_no_part_of_a_case_on_a_cpu():
    assert set(_ONLY_ON_CUDA) == {"graph", "grouped_graph"}


@pytest.mark.slow
def test_a_dry_run_prints_the_table_and_writes_it(tmp_path, capsys):
    output = tmp_path / "bench.json"

    main(["--rows", "b", "--quick", "--output", str(output)])

    table = Table.from_json(output.read_text(encoding="utf-8"))
    assert {row.letter for row in table.rows} == {"b"}
    assert table.to_markdown() == capsys.readouterr().out
