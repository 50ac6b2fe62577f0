"""Nothing that a run directory holds is unpickled, whoever has put it there."""

import ast
import pickle
from pathlib import Path

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError
from rlp_sweeps.orchestration.gathering import remove_attempt_folders
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.training.checkpoint import load_checkpoint
from rlp_sweeps.training.weights import load_weights

CPU = torch.device("cpu")
SOURCES = [
    path
    for package in ("rlp_sweeps", "analysis", "search_spaces")
    for path in (Path(__file__).parents[2] / package).rglob("*.py")
]
UNPICKLES = {"loads", "Unpickler", "read_pickle", "restore", "unsafe_load", "full_load", "pyfunc"}
LOADS = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal", "yaml", "np", "numpy"}


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Return a file that unpickling would leave, once it is seen that it would."""
    path = tmp_path / "ran"
    pickle.loads(pickle.dumps(Harmful(path)))
    assert path.exists()
    path.unlink()
    return path


@pytest.mark.parametrize("load", [load_checkpoint, load_weights])
@pytest.mark.parametrize("is_inside", [True, False], ids=["beside tensors", "alone"])
def test_a_planted_object_is_refused_in_a_sentence_and_not_unpickled(
    tmp_path: Path, mark: Path, load, is_inside: bool
) -> None:
    config = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=0)
    path = tmp_path / f"{config.trial_id}.pt"
    state = {"config": config.to_dict(), "epoch": 1, "network": {"w": Harmful(mark)}}
    torch.save(state if is_inside else Harmful(mark), path)

    with pytest.raises(CheckpointError, match=r"alone, but it holds something else.* was not read"):
        load(path, CPU)

    assert not mark.exists()


@pytest.mark.parametrize("load", [load_checkpoint, load_weights])
def test_a_bare_pickle_is_refused_in_a_sentence(tmp_path: Path, mark: Path, load) -> None:
    path = tmp_path / "a1.pt"
    path.write_bytes(pickle.dumps(Harmful(mark)))
    old_format = tmp_path / "b2.pt"
    torch.save({"w": Harmful(mark)}, old_format, _use_new_zipfile_serialization=False)

    for planted in (path, old_format):
        with pytest.raises(CheckpointError, match=r"must be whole, but .*; (delete|remove) it"):
            load(planted, CPU)

    assert not mark.exists()


def test_what_tune_has_left_is_removed_unread(tmp_path: Path, mark: Path) -> None:
    folder = tmp_path / ".attempt-1234"
    folder.mkdir()
    for name in ("tuner.pkl", "searcher-state.pkl", "trainable.pkl"):
        (folder / name).write_bytes(pickle.dumps(Harmful(mark)))

    remove_attempt_folders(RunDirectory(tmp_path))

    assert not folder.exists()
    assert not mark.exists()


def calls_of(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_unpickles(path: Path) -> None:
    for call in calls_of(path):
        if isinstance(call.func, ast.Name):
            assert call.func.id not in {"eval", "exec"}
        if not isinstance(call.func, ast.Attribute):
            continue
        owner, name = ast.unparse(call.func.value), call.func.attr
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert options.get("allow_pickle", "False") == "False"
        if (owner, name) == ("torch", "load"):
            assert options["weights_only"] == "True"
        assert not (name == "load" and owner in LOADS)
        assert name not in UNPICKLES or owner == "json"
