"""How seldom a command's process looks for reference cycles, and what it closes at its end.

Imports leave hundreds of thousands of objects, which every full collection walks through: a sixth
of the time of importing torch, Ray and MLflow, and 1.5 s at the end of a sweep.
"""

import atexit
import gc
import sys

_THRESHOLDS = (50_000, 20, 50)
"""Of the collector's generations; Python's own are 700, 10, 10."""


def collect_seldom() -> None:
    """Collect seldom in this process, and not at all as it ends."""
    gc.set_threshold(*_THRESHOLDS)
    atexit.register(end_without_collecting)  # the first to be registered runs last


def end_without_collecting() -> None:
    """Close the databases that a last collection would have closed, and do without it.

    MLflow keeps its connections for good; a SQLite file that no one closes leaves its log behind.
    """
    engine_type = getattr(sys.modules.get("sqlalchemy.engine"), "Engine", None)
    if engine_type is not None:
        for thing in gc.get_objects():
            if type(thing) is engine_type:
                thing.dispose()
    gc.freeze()
