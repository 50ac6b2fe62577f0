"""Every command takes a run directory in a store; the sweeps are simulated, so that none trains."""

import json

import pytest
from simulated_sweeps import plan_of, record, space_of

from rlp_sweeps.cli import main, sweeping
from rlp_sweeps.stores import as_path
from rlp_sweeps.tracking.holder import read_request
from rlp_sweeps.tracking.run_directory import RunDirectory

STUDY = """from rlp_sweeps.spaces import LogAxis, Search, SearchSpace

SPACE = SearchSpace(
    axes={
        "lr": LogAxis(low=0.01, high=0.1, num_points=2),
        "rlp_lambda": LogAxis(low=1.0, high=10.0, num_points=2, control=0.0),
    },
    arms=("control", "full"),
    num_seeds=2,
    fixed={"dataset": "synthetic:1,4,4,2,64", "backbone": "mlp", "num_epochs": 2, "batch_size": 16},
    search=Search(num_points=3),
)
"""
HERE = ("started_at_ms", "finished_at_ms", "logged_at_ms", "code_version")


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "study.py").write_text(STUDY)
    return tmp_path / "study.py"


def _rows(where, table):
    rows = getattr(RunDirectory.open(where), f"read_{table}")()
    rows = rows.drop_columns([name for name in HERE if name in rows.column_names])
    return rows.sort_by([(n, "ascending") for n in ("trial_id", "epoch") if n in rows.column_names])


def test_a_search_is_cut_off_resumed_extended_and_followed_up_in_a_store_as_on_a_disk(
    study, bucket, tmp_path, capsys
):
    places = (f"{bucket}/runs/search", str(tmp_path / "search"))

    for place in places:
        cut_off = ["simulate", "study.py", "--epoch-seconds", "3600", "--hours", "20"]
        statuses = [
            main([*cut_off, "--output", place]),
            main(["resume", place, "--no-analyze"]),
            main(["extend", place, "--num-points", "4", "--no-analyze"]),
            main(["follow-up", place, "--num-seeds", "3", "--no-analyze"]),
        ]
        assert statuses == [130, 0, 0, 0], capsys.readouterr().err

    for table in ("trials", "epochs"):
        assert _rows(places[0], table) == _rows(places[1], table)
    assert len(_rows(places[0], "trials")) == 4 * 2 * 3
    manifests = [RunDirectory.open(place).manifest for place in places]
    assert len(manifests[0]["follow_ups"]) == len(manifests[1]["follow_ups"]) == 2
    points = [(as_path(place) / "search" / "points.jsonl").read_text() for place in places]
    assert points[0] == points[1]
    assert not (tmp_path / "s3:").exists()


def test_a_sweep_in_a_store_is_shown_compared_and_exported(study, bucket, capsys):
    for name in ("a", "b"):
        simulate = ["simulate", "study.py", "--epoch-seconds", "1", "--output"]
        assert main([*simulate, f"{bucket}/{name}"]) == 0
    trial = RunDirectory.open(f"{bucket}/a").read_trials()["trial_id"][0].as_py()
    capsys.readouterr()

    statuses = [
        main(["show", f"{bucket}/a", trial[:6], "--json"]),
        main(["compare", f"{bucket}/a", f"{bucket}/b"]),
        main(["export", f"{bucket}/a", "--table", "trials"]),
    ]

    said = capsys.readouterr()
    assert statuses == [0, 0, 0], said.err
    assert json.JSONDecoder().raw_decode(said.out)[0]["trial"]["trial_id"] == trial
    lines = as_path(f"{bucket}/a/export/trials.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * 2 * 2


def test_a_sweep_in_a_store_is_simulated_from_its_recorded_times(study, bucket, capsys):
    record(f"{bucket}/real", plan_of(space_of(3)), epoch_s=(10.0, 20.0, 5.0))

    status = main(["simulate", f"{bucket}/real", "--slots", "2", "--output", f"{bucket}/simulated"])

    assert status == 0
    assert "simulated: 40 s on 2 slot(s), busy for 87.5%" in capsys.readouterr().out
    assert len(_rows(f"{bucket}/simulated", "trials")) == 3
    assert not study.with_name("s3:").exists()


def test_the_driver_of_a_sweep_in_a_store_is_asked_to_stop(bucket, capsys):
    record(f"{bucket}/run", plan_of(space_of(1)), epoch_s=(1.0,))
    directory = RunDirectory.open(f"{bucket}/run")

    with directory.held() as this:
        status = main(["cancel", f"{bucket}/run", "--no-wait", "--now"])
        request = read_request(directory.path, this)

    assert (status, request.now) == (0, True)
    assert f"asked {this} to stop at once" in capsys.readouterr().out
    assert main(["cancel", f"{bucket}/run"]) == 2
    assert "nobody is at work in s3://" in capsys.readouterr().err


def test_a_simulated_sweep_that_goes_on_tells_mlflow_nothing(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweeping, "_analyze", lambda directory: 0)
    simulate = ["simulate", "study.py", "--epoch-seconds", "1", "--output", "sweep"]
    assert main(simulate) == 0

    assert main(["extend", "sweep", "--num-points", "4"]) == 0

    assert "rlp-sweeps ui" not in capsys.readouterr().out
    assert not (tmp_path / "mlflow.db").exists()
