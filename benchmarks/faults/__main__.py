"""Inject faults into tiny sweeps, log each, and print the table.

    python -m benchmarks.faults [--kills N] [--kinds a,b] [--seed S] [--log FILE] [--folder DIR]
    python -m benchmarks.faults --table LOG [LOG ...]

Without `--kinds` every fault is injected, the frequent ones more often than the slow ones. The log
gets one JSON line a fault; a log that exists goes on. `--table` writes the table of all these logs
into docs/reliability.md, between its markers.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.log import KINDS, Injection, read_log, to_markdown
from benchmarks.options import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN = "<!-- begin: python -m benchmarks.faults --table -->"
END = "<!-- end: python -m benchmarks.faults --table -->"

MAX_ROUNDS = 5
"""How often what came too late, or found nothing to hit, is tried."""

SHARES = {"driver": 6.0, "worker": 5.0, "raylet": 3.0, "gcs": 3.0, "node": 0.5, "head": 0.25}
"""How often a fault is drawn, relative to the others' 1."""


def parse_kinds(text: str) -> list[str]:
    """Return the faults of ``a,b``.

    Raises:
        ValueError: There is no such fault.
    """
    kinds = [kind.strip() for kind in text.split(",")]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        msg = f"`--kinds` must name faults out of {list(KINDS)}, but got {unknown}."
        raise ValueError(msg)
    return kinds


def draw_kinds(kinds: Sequence[str], num: int, rng: random.Random) -> list[str]:
    """Return that many faults in random order, each at least once where there is room."""
    weights = [SHARES.get(kind, 1.0) for kind in kinds]
    drawn = list(kinds)[:num]
    drawn += rng.choices(list(kinds), weights, k=num - len(drawn))
    rng.shuffle(drawn)
    return drawn


def still_missing(drawn: Sequence[str], found: Sequence[Injection]) -> list[str]:
    """Return the faults that were drawn more often than they were injected."""
    return list((Counter(drawn) - Counter(one.kind for one in found if one.counts)).elements())


def with_table(page: str, table: str) -> str:
    """Return the page with the table between its markers.

    Raises:
        ValueError: The page does not hold both markers once.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        msg = f"a page must hold {BEGIN!r} and then {END!r}, once each."
        raise ValueError(msg)
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{table}\n{END}{rest.partition(END)[2]}"


def main(arguments: list[str] | None = None) -> int:
    """Inject, log, print; return 1 where a row was lost, twice or changed, or a process left."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="faults that count")
    parser.add_argument("--kinds", type=parse_kinds, default=list(KINDS), metavar="a,b")
    parser.add_argument("--seed", type=int, default=None, help="of moments, victims and order")
    parser.add_argument("--log", type=Path, default=Path("faults.jsonl"), metavar="FILE")
    parser.add_argument("--folder", type=Path, help="for the sweeps; default: a temporary one")
    parser.add_argument("--table", type=Path, nargs="+", metavar="LOG", help="write docs' table")
    options = parser.parse_args(arguments)
    if options.table:
        table = to_markdown(read_log(options.table))
        PAGE.write_text(with_table(PAGE.read_text("utf-8"), table), encoding="utf-8")
        return 0
    return inject(options)


def inject(options: argparse.Namespace) -> int:
    """Inject until enough faults count."""
    from benchmarks.faults.campaign import Campaign

    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    rng = random.Random(seed)
    print(f"seed {seed}", file=sys.stderr, flush=True)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="rlp-faults-"))
    campaign = Campaign(folder, rng=rng, show=lambda text: print(text, file=sys.stderr, flush=True))
    found: list[Injection] = []
    drawn = draw_kinds(options.kinds, options.kills, rng)
    for _ in range(MAX_ROUNDS):
        missing = still_missing(drawn, found)
        if not missing:
            break
        rng.shuffle(missing)
        with options.log.open("a", encoding="utf-8") as log:
            for injection in campaign.run(missing):
                found.append(injection)
                print(injection.to_json(), file=log, flush=True)
    print(to_markdown(found))
    if missing := still_missing(drawn, found):
        print(f"not injected: {dict(Counter(missing))}", file=sys.stderr)
    bad = [one for one in found if one.rows_lost or one.rows_twice or one.numbers_changed]
    bad += [one for one in found if one.num_orphans or one.num_leftovers or one.num_runs_off]
    if bad:
        print(f"what is wrong stands in {folder}", file=sys.stderr)
    elif options.folder is None:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
