"""Run directories listed, and cleaned of what is no result."""

import json
import os
import shutil
import time
from pathlib import Path

import polars as pl
import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.tracking.run_directory import RunDirectory

GOLDEN = Path(__file__).parents[1] / "contract" / "golden_v1"
Capture = pytest.CaptureFixture[str]
EXTRAS = {
    "checkpoints/g1.pt": 1000,
    "weights/a.pt": 200,
    "probes/b.pt": 30,
    "samples/a.parquet": 4,
    ".attempt-1a2b/events.log": 50_000,
    ".attempt-1a2b/trial/params.json": 600_000,
    "corrupt/trials-c.parquet": 7_000_000,
    "trials/.d.parquet.123.tmp": 80_000_000,
}
KEPT = ("manifest.json", "trials/0-compacted.parquet", "epochs/0-compacted.parquet")


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three of four trials are trained; files that are no results lie beside their rows."""
    monkeypatch.chdir(tmp_path)
    directory = shutil.copytree(GOLDEN, tmp_path / "runs" / "golden")
    for name, size in EXTRAS.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)  # sparse
        os.utime(path, (time.time() - 3600,) * 2)
    return directory


@pytest.fixture
def done(golden: Path) -> Path:
    """The same with every planned trial trained."""
    planned = json.loads((golden / "manifest.json").read_text())["trials"]
    rows = pl.read_parquet(golden / "trials" / "0-compacted.parquet")
    last = rows.head(1).with_columns(trial_id=pl.lit(planned[-1]["trial_id"]))
    pl.concat([rows, last]).write_parquet(golden / "trials" / "0-compacted.parquet")
    return golden


def left_of(directory: Path) -> set[str]:
    return {name for name in EXTRAS if (directory / name).exists()}


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ("--checkpoints", {"checkpoints/g1.pt"}),
        ("--weights", {"weights/a.pt", "probes/b.pt"}),
        ("--samples", {"samples/a.parquet"}),
        ("--logs", {".attempt-1a2b/events.log", ".attempt-1a2b/trial/params.json"}),
        ("--all-but-results", set(EXTRAS) - {"samples/a.parquet"}),
    ],
)
def test_clean_removes_what_was_chosen_and_no_result(
    done: Path, options: str, gone: set[str]
) -> None:
    before = {name: (done / name).read_bytes() for name in KEPT}

    assert main(["clean", str(done), options, "--yes"]) == 0

    assert left_of(done) == set(EXTRAS) - gone
    assert {name: (done / name).read_bytes() for name in KEPT} == before
    assert (done / "weights").is_dir()  # says that weights are kept


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--weights"], ["--all-but-results"]])
def test_clean_removes_nothing_without_yes(done: Path, options: list[str], capsys: Capture) -> None:
    assert main(["clean", str(done), *options]) == 0

    assert left_of(done) == set(EXTRAS)
    assert "nothing is without --yes" in capsys.readouterr().out


def test_clean_says_bytes_by_kind(done: Path, capsys: Capture) -> None:
    main(["clean", str(done)])

    text = " ".join(capsys.readouterr().out.split())
    assert "weights 2 230 B" in text
    assert "logs 2 650 kB" in text
    assert "leftovers 2 87 MB" in text
    assert "would be removed: 87.7 MB in 8 files" in text


def test_clean_leaves_the_checkpoints_of_a_sweep_that_goes_on(
    golden: Path, capsys: Capture
) -> None:
    assert main(["clean", str(golden), "--all-but-results", "--yes"]) == 0

    assert left_of(golden) == {"checkpoints/g1.pt", "samples/a.parquet"}
    assert "stay: 1 trials are left" in capsys.readouterr().err


def test_clean_refuses_a_directory_at_work(done: Path, capsys: Capture) -> None:
    with RunDirectory.open(done).held():
        assert main(["clean", str(done), "--weights", "--yes"]) == 2

    assert "is at work and left as it is" in capsys.readouterr().err
    assert left_of(done) == set(EXTRAS)


@pytest.mark.parametrize("name", [".", "absent"])
def test_clean_refuses_what_is_no_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.pt").touch()

    assert main(["clean", name, "--weights", "--yes"]) == 2

    assert (tmp_path / "weights" / "a.pt").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_clean_passes_over_what_lies_beside_run_directories(done: Path, capsys: Capture) -> None:
    store = done.parent / "mlflow.db"
    store.touch()

    assert main(["clean", str(done), str(store), "--weights", "--yes"]) == 0

    assert store.exists()
    assert "weights/a.pt" not in left_of(done)
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(("age", "is_gone"), [("30m", None), ("2h", False), ("30d", False)])
def test_clean_goes_by_the_time_since_the_last_write(
    done: Path, capsys: Capture, age: str, is_gone: bool | None
) -> None:
    status = main(["clean", str(done), "--weights", "--older-than", age, "--yes"])

    assert status == (2 if is_gone is None else 0)
    assert "weights/a.pt" in left_of(done)


def test_clean_takes_directories_that_are_old_enough(done: Path) -> None:
    for path in done.rglob("*"):
        os.utime(path, (time.time() - 40 * 86_400,) * 2)

    main(["clean", str(done), "--weights", "--older-than", "30d", "--yes"])

    assert "weights/a.pt" not in left_of(done)


@pytest.mark.parametrize("options", [["--yes"], ["--weights", "--yes", "--dry-run"]])
def test_clean_refuses_to_guess_what_is_to_go(
    done: Path, options: list[str], capsys: Capture
) -> None:
    assert main(["clean", str(done), *options]) == 2

    assert "`--yes` must come with what is to go" in capsys.readouterr().err


def test_clean_follows_no_link(done: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.pt").write_text("weights")
    (done / "checkpoints" / "link.pt").symlink_to(outside / "precious.pt")

    main(["clean", str(done), "--all-but-results", "--yes"])

    assert (outside / "precious.pt").read_text() == "weights"
    assert (done / "checkpoints" / "link.pt").is_symlink()


def test_clean_refuses_a_directory_that_leads_out_of_itself(done: Path, tmp_path: Path) -> None:
    outside = shutil.move(done / "weights", tmp_path / "outside")
    (done / "weights").symlink_to(outside)

    assert main(["clean", str(done), "--weights", "--yes"]) == 2

    assert (tmp_path / "outside" / "a.pt").exists()


def test_list_says_of_each_run_how_it_stands(golden: Path, capsys: Capture) -> None:
    other = shutil.copytree(GOLDEN, golden.parent / "deeper" / "other")
    main(["analyze", str(other)])
    capsys.readouterr()

    assert main(["list"]) == 0

    first, second = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert {first[0], second[0]} == {"runs/golden", "runs/deeper/other"}
    assert "unfinished" in first
    assert "3" in first  # of 4 trials


def test_list_tells_scripts_the_verdict_in_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    golden = shutil.copytree(GOLDEN, tmp_path / "runs" / "golden")
    (golden / "analysis").mkdir()
    effects = {"effect_total": 0.019, "effect_lr": 0.0179, "effect_memorization": 0.0011}
    pooled = pl.DataFrame({"effect": list(effects), "estimate": list(effects.values())})
    ends = {"ci_low": pl.lit(0.01), "ci_high": pl.lit(0.02), "rlp_lambda": pl.lit(10.0)}
    of = {"outcome": pl.lit("test_accuracy"), "estimator": pl.lit("arms")}
    pooled.with_columns(**ends, **of).write_parquet(golden / "analysis" / "effects_pooled.parquet")

    main(["list", "runs", "--json"])

    (run,) = json.loads(capsys.readouterr().out)
    assert (run["directory"], run["state"], run["num_planned"]) == ("runs/golden", "unfinished", 4)
    assert run["verdict"] == "λ 10: total +1.90 [+1.00, +2.00], class +1.79, uniform +0.11"


def test_list_of_an_empty_folder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["list", "."]) == 0
    assert capsys.readouterr().out == "no run directories below .\n"
    assert main(["list"]) == 2
    assert "there is no folder 'runs'" in capsys.readouterr().err
