"""A command's process ends without a last collection, and with its databases closed."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import sqlalchemy
from rlp_sweeps.cli.collecting import collect_seldom

collect_seldom()
engine = sqlalchemy.create_engine(f"sqlite:///{sys.argv[1]}")
with engine.begin() as connection:
    connection.execute(sqlalchemy.text("PRAGMA journal_mode=WAL"))
    connection.execute(sqlalchemy.text("CREATE TABLE points (value REAL)"))
kept = [engine]
kept.append(kept)  # a cycle: only a collection would find it
sys.modules["kept"] = kept
"""


def test_a_process_that_ends_leaves_no_log_beside_a_sqlite_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "runs.db")], check=True)

    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]
