"""Write what the recipes' claims came to into docs/findings.md, from run directories.

    rlp-sweeps run RECIPE --output DIR
    rlp-sweeps run RECIPE:SIZE --output DIR
    python -m benchmarks.findings DIR [DIR ...]

Each directory's claims, with every seed's value, are kept in ``docs/findings/RECIPE.json``, those
of another size than small in ``RECIPE_SIZE.json``; the table of the page is made from these files
alone, between its markers. A directory whose space is not the recipe's, or that is not finished, is
refused.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from analysis.claims import format_claim, format_expectation
from analysis.tables import analyze
from benchmarks.options import ROOT
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.recipes import find_reference, load_space

PAGE = ROOT / "docs" / "findings.md"
FOLDER = ROOT / "docs" / "findings"
BEGIN = "<!-- begin: python -m benchmarks.findings -->"
END = "<!-- end: python -m benchmarks.findings -->"

_SPACE = ("axes", "arms", "fixed", "num_seeds", "first_seed", "search", "claims")
_ADDED = {"probes": [], "keep_samples": False}
"""What spaces of older runs may lack, with what it stands for."""


def evidence_of(directory: Path) -> dict[str, Any]:
    """Return what a finished run of a recipe found, JSON-ready; it is analyzed anew.

    Raises:
        SearchSpaceError: It is no sweep of a recipe.
        RunDirectoryError: It is not finished, or was not the recipe as it stands.
    """
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    recipe = find_reference(str(manifest["sweep_name"]))
    recipe_space = load_space(recipe).space
    space = {**_ADDED, **manifest["space"]}
    _check_as_it_stands(directory, recipe, as_json(recipe_space.to_dict()), space)
    counts = _counts_of_finished(directory, num_planned=len(manifest["trials"]))
    elsewhere = "" if space["data_dir"] == recipe_space.data_dir else " --set data_dir=FOLDER"
    analysis = analyze([directory])
    assert analysis.claims is not None
    assert analysis.claim_values is not None
    values = analysis.claim_values
    return {
        "recipe": recipe,
        "command": f"rlp-sweeps run {recipe}{elsewhere}",
        "code_version": str(manifest["code_version"]),
        "num_trials": counts,
        "claims": [
            {
                **row,
                "values": values.filter(pl.col("text") == row["text"])
                .select("seed", "value")
                .rows(),
            }
            for row in analysis.claims.to_dicts()
        ],
    }


def _check_as_it_stands(
    directory: Path, recipe: str, described: Mapping[str, Any], space: Mapping[str, Any]
) -> None:
    changed = [name for name in (*_SPACE, *_ADDED) if described[name] != space.get(name)]
    if changed:
        msg = (
            f"a finding must come from the recipe as it stands, but {directory} differs from "
            f"{recipe!r} in {changed}; run it again."
        )
        raise RunDirectoryError(msg)


def _counts_of_finished(directory: Path, *, num_planned: int) -> dict[str, int]:
    """Return a run's trials by status, once all of them ended and none failed."""
    trials = pl.read_parquet(directory / "trials" / "*.parquet", columns=["status"])
    counts = dict(trials.group_by("status").len().sort("status").iter_rows())
    if trials.height != num_planned or set(counts) - {"completed", "diverged"}:
        msg = (
            f"a finding must come from a finished run, but {directory} has {counts} of "
            f"{num_planned} trials; `rlp-sweeps resume {directory}`."
        )
        raise RunDirectoryError(msg)
    return counts


def as_json(value: Any) -> Any:
    """Return a value as it comes back from a JSON file."""
    return json.loads(json.dumps(value))


def read_evidence(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return the evidence of every recipe and size, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def to_markdown(evidence: Sequence[Mapping[str, Any]]) -> str:
    """Return the table, one row a claim, and how each recipe was run."""
    lines = [
        "| claim | source | recipe | what was measured | expected | came out | |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in evidence:
        for row in found["claims"]:
            name = f"`{found['recipe']}`"
            came_out = format_claim(row) + (f" ({row['reason']})" if row["reason"] else "")
            cells = (row["text"], row["source"], name, row["quantity"], format_expectation(row))
            lines.append(f"| {' | '.join(cells)} | {came_out} | **{row['result']}** |")
    lines += ["", "| command | trials |", "|---|---|"]
    for found in evidence:
        counts = ", ".join(f"{number} {name}" for name, number in found["num_trials"].items())
        lines.append(f"| `{found['command']}` | {counts} |")
    return "\n".join(lines)


def with_table(page: str, table: str) -> str:
    """Return the page with this table between its markers, and nothing else there.

    Raises:
        ValueError: The page does not hold both markers once, in this order.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        msg = f"a page must hold {BEGIN!r} and then {END!r}, once each."
        raise ValueError(msg)
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Keep the evidence of these runs, and write the page's table anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", type=Path, nargs="*", metavar="DIR")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for directory in arguments.directories:
        found = evidence_of(directory)
        text = json.dumps(found, ensure_ascii=False, indent=1)
        name = load_space(found["recipe"]).name
        (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    page = with_table(PAGE.read_text(encoding="utf-8"), to_markdown(read_evidence()))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
