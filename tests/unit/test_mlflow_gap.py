import errno
import json

from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.mlflow_gap import TrackingGap, forget_gap, note_gap, read_gap

URI = "http://anna:s3cret@host:5000"


def test_gap_says_what_since_when_why_and_the_way_out(tmp_path):
    gap = note_gap(tmp_path, tracking_uri=URI, reason="it is away.", now_ms=1_000)

    assert gap.sentence(tmp_path) == (
        "MLflow lacks a part of this sweep since 1970-01-01 00:00:01 UTC: it is away; training and "
        f"its results do not depend on it, and `rlp-sweeps sync {tmp_path} --tracking-uri "
        "http://host:5000` brings everything there."
    )


def test_gap_of_the_default_store_needs_no_option(tmp_path):
    uri = f"sqlite:///{tmp_path.parent / 'mlflow.db'}"

    gap = note_gap(tmp_path, tracking_uri=uri, reason="no", now_ms=1)

    assert f"`rlp-sweeps sync {tmp_path}`" in gap.sentence(tmp_path)


def test_gap_goes_on_from_its_beginning_and_holds_no_password(tmp_path):
    note_gap(tmp_path, tracking_uri=URI, reason="first", now_ms=1)
    note_gap(tmp_path, tracking_uri=URI, reason="second", now_ms=2)

    assert read_gap(tmp_path) == TrackingGap(1, "second", "http://host:5000")
    (path,) = tmp_path.iterdir()
    assert "s3cret" not in path.read_text()
    assert json.loads(path.read_text())["since_ms"] == 1


def test_gap_is_forgotten_once_its_own_store_is_complete(tmp_path):
    note_gap(tmp_path, tracking_uri=URI, reason="away", now_ms=1)

    forget_gap(tmp_path, tracking_uri="http://other:5000")
    kept = read_gap(tmp_path)
    forget_gap(tmp_path, tracking_uri=URI)

    assert kept is not None
    assert read_gap(tmp_path) is None


def test_gap_of_a_full_disk_is_returned_though_it_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_text_atomically", refuse)

    gap = note_gap(tmp_path, tracking_uri=URI, reason="the disk is full.", now_ms=1)

    assert "the disk is full; training" in gap.sentence(tmp_path)
    assert read_gap(tmp_path) is None
