"""A manifest in which anything was changed is read, or refused in a sentence: no traceback."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.origin import read_plans
from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.tracking.mlflow_sweep import _parent_tags
from rlp_sweeps.tracking.probe_rows import asked_probes
from rlp_sweeps.tracking.run_directory import RunDirectory

MANIFEST = json.loads((Path(__file__).parent / "golden_v1" / "manifest.json").read_text())
FOLLOW_UP = {"created_at": "", "code_version": "", "why": "", "trial_ids": []}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a JSON value."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:2])
        if isinstance(value, list)
        else ()
    )
    return [path, *(p for key, inner in inside for p in places(inner, (*path, key)))]


WHOLE = {**MANIFEST, "follow_ups": [FOLLOW_UP]}
PLACES = [place for place in places(WHOLE) if place]
VALUES = [None, True, -1, 0, 2**70, 1e308, "", "../x", "1", [], [None], ["x"], {}, {"x": 1}]


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """Return the manifest with one or two of its values changed or gone."""
    manifest = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(PLACES))
        owner: Any = manifest
        try:
            for key in path:
                owner = owner[key]
            if draw(st.booleans()):
                owner[last] = draw(st.sampled_from(VALUES))
            else:
                del owner[last]
        except (KeyError, IndexError, TypeError):
            continue  # went with the value before
    return manifest


@settings(max_examples=200)
@given(manifest=changed())
@pytest.mark.parametrize("read", ["status", "analysis", "mlflow"])
def test_a_changed_manifest_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, read: str, manifest: dict[str, Any]
) -> None:
    directory = tmp_path_factory.getbasetemp() / "changed"
    (directory / "trials").mkdir(parents=True, exist_ok=True)
    (directory / "manifest.json").write_text(json.dumps(manifest))

    try:
        if read == "status":
            sweep_status(directory)
        elif read == "analysis":
            read_plans([directory])
        else:
            _parent_tags("s", RunDirectory.open(directory).manifest)
    except RlpSweepsError as refusal:
        text = str(refusal)
    else:
        text = "."

    assert text.endswith(".")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"probes": 1}', '"x"', "\x00"])
def test_a_broken_record_of_probes_is_refused(tmp_path: Path, text: str) -> None:
    directory = RunDirectory(tmp_path)
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "asked.json").write_text(text)

    with pytest.raises(RlpSweepsError, match=r"asked\.json must read .* remove it\."):
        asked_probes(directory)
