import importlib
import sys
import traceback

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ClusterError
from rlp_sweeps.orchestration import user_code
from rlp_sweeps.orchestration.user_code import Source, UserCode

MINIMAL = {"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0}
NAMES = ("sent_nets", "sent_nets.plain", "sent_nets.lazy", "sent_helper")


@pytest.fixture
def code(tmp_path, monkeypatch):
    """What a package with a helper beside it is sent as; neither is imported any more."""
    package = tmp_path / "sent_nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plain.py").write_text(
        "from sent_helper import FACTOR\n\ndef build():\n    return 2 * FACTOR\n"
    )
    (package / "lazy.py").write_text("def fail():\n    raise KeyError('lazy')\n")
    (tmp_path / "sent_helper.py").write_text("FACTOR = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    code = UserCode.of([trial_of("sent_nets.plain:build")])
    forget()
    yield code
    forget()


def trial_of(backbone):
    return TrialConfig.from_dict({**MINIMAL, "backbone": backbone})


def forget():
    for name in NAMES:
        sys.modules.pop(name, None)


def test_whole_packages_and_imported_modules_are_sent_and_nothing_installed(code):
    own = {name for name in code.sources if not name.startswith(("conftest", "test"))}

    assert set(NAMES) <= own
    assert not {name.split(".")[0] for name in own} & {"torch", "numpy", "rlp_sweeps", "json"}
    assert code.wanted == ("sent_nets.plain",)


def test_modules_are_imported_from_memory_where_their_files_are_absent(code, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "sent_nets").rename(elsewhere)
    (tmp_path / "sent_helper.py").write_text("FACTOR = 5  # an older copy\n")

    code.install()

    assert importlib.import_module("sent_nets.plain").build() == 6
    lazy = importlib.import_module("sent_nets.lazy")
    with pytest.raises(KeyError) as caught:
        lazy.fail()
    assert "raise KeyError('lazy')" in "".join(traceback.format_tb(caught.tb))


def test_file_that_is_the_same_here_is_imported_from_its_place(code, tmp_path):
    code.install()

    module = importlib.import_module("sent_nets.plain")

    assert module.__file__ == str(tmp_path / "sent_nets" / "plain.py")
    assert type(module.__loader__).__name__ == "SourceFileLoader"


def test_nothing_is_sent_for_trials_that_name_no_code_of_a_user():
    assert UserCode.of([trial_of("mlp")]) == UserCode({}, ())


def test_code_that_is_too_large_is_refused(monkeypatch):
    source = Source(path="/study/weights.py", text="#" * 100, is_package=False)
    monkeypatch.setattr(user_code, "MAX_CODE_BYTES", 99)
    monkeypatch.setattr(user_code, "_own_sources", lambda: [("weights", source)])

    with pytest.raises(ClusterError, match=r"at most 99 bytes .* most in '/study/weights.py'"):
        UserCode.of([trial_of("json.dumps")])
