"""The study as Markdown: one table of intervals, one of tests; numbers of seeds side by side.

Accuracies are in points (0.01 of the share), shares of sweeps in percent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""A row of the effects or of the tests, as the JSON file holds it."""

MAIN_EFFECTS = (
    "effect_total",
    "effect_lr",
    "effect_memorization",
    "interaction",
    "specificity",
)
"""Effects that the tables show; the JSON file holds all."""

INTERVALS = (
    "scenario",
    "estimator",
    "effect",
    "truth",
    "bias ± MC error",
    "RMSE",
    "width",
    "coverage, pooled",
    "of its own cells",
    "coverage, cells",
    "worst cell (lr)",
    "missing, pooled / cells",
)
TESTS = (
    "scenario",
    "estimator",
    "t test",
    "sign flip",
    "agree",
    "family, t test",
    "family, Holm",
)


def to_markdown(content: Record) -> str:
    """Return facts and both tables of the study that `__main__` writes as JSON."""
    seeds, num_sweeps = " / ".join(str(n) for n in content["seeds"]), content["num_sweeps"]
    error = 100 * (0.95 * 0.05 / num_sweeps) ** 0.5
    lines = [f"- {name}: {fact}" for name, fact in content["machine"].items()]
    lines += [
        f"- {num_sweeps:,} sweeps a scenario and number of seeds n = {seeds}; Monte-Carlo error "
        f"of a pooled coverage near 95 %: {error:.1f} points",
        "",
        "Effects at the largest λ. Truth, bias (at the largest n), RMSE and width are in points of "
        f"accuracy, the rest in percent; entries with `/` are for n = {seeds}.",
        "",
        *_table(INTERVALS, _interval_rows(content)),
        "",
        "Share of tests at 5 % that tell an effect from 0, mean over effects; and of sweeps in "
        "which any effect of the confirmatory family is told from 0. Under `null` these are error "
        "rates.",
        "",
        *_table(TESTS, _test_rows(content)),
    ]
    return "\n".join(lines) + "\n"


def _interval_rows(content: Record) -> Iterator[tuple[str, ...]]:
    for name, scenario in content["scenarios"].items():
        records = scenario["effects"]
        largest = max(record["rlp_lambda"] for record in records)
        shown = [r for r in records if r["rlp_lambda"] == largest and r["effect"] in MAIN_EFFECTS]
        for estimator, effect in dict.fromkeys((r["estimator"], r["effect"]) for r in shown):
            mine = [r for r in shown if (r["estimator"], r["effect"]) == (estimator, effect)]
            pooled = [r for r in mine if r["level"] == "pooled"]
            cells = [r for r in mine if r["level"] == "cell"]
            yield (name, estimator, effect, *_interval_cells(pooled, cells))


def _interval_cells(pooled: Sequence[Record], cells: Sequence[Record]) -> Iterator[str]:
    """Yield the entries of one effect; both lists have one record a number of seeds."""
    last = pooled[-1]
    yield _points(last["truth"])
    bias = f"{_points(last['bias'])} ± {_points(last['bias_se'])}"
    yield "–" if last["bias"] is None else bias
    yield _along(pooled, "rmse", _points)
    yield _along(pooled, "width", _points)
    yield _along(pooled, "coverage", _percent)
    yield _along(pooled, "coverage_own", _percent)
    yield _along(cells, "coverage", _percent)
    worst = _along(cells, "coverage_worst", _percent)
    lr = cells[-1]["lr_worst"]
    yield worst if worst == "–" or lr is None else f"{worst} ({lr:g})"
    yield f"{_percent(last['missing'])} / {_percent(cells[-1]['missing'])}"


def _test_rows(content: Record) -> Iterator[tuple[str, ...]]:
    for name, scenario in content["scenarios"].items():
        records = scenario["tests"]
        for estimator in dict.fromkeys(record["estimator"] for record in records):
            mine = [record for record in records if record["estimator"] == estimator]
            single = [r for r in mine if r["effect"] in MAIN_EFFECTS]
            joint = [r for r in mine if r["effect"] not in MAIN_EFFECTS and _is_family(r)]
            means = [
                _along(_means(single, column, content["seeds"]), column, _percent)
                for column in ("reject_t", "reject_sign_flip", "agreement")
            ]
            yield (
                name,
                estimator,
                *means,
                *(_along(joint, column, _percent) for column in ("reject_t", "reject_holm")),
            )


def _is_family(record: Record) -> bool:
    return record["reject_holm"] is not None


def _means(records: Sequence[Record], column: str, seeds: Sequence[int]) -> list[Record]:
    """Return the mean over effects for each number of seeds; None where there is no test."""
    found: list[Record] = []
    for num_seeds in seeds:
        mine = (r[column] for r in records if r["num_seeds"] == num_seeds)
        values = [value for value in mine if value is not None]
        found.append({column: sum(values) / len(values) if values else None})
    return found


def _along(records: Sequence[Record], column: str, form: Callable[[float | None], str]) -> str:
    texts = [form(record[column]) for record in records]
    return "–" if all(text == "–" for text in texts) else " / ".join(texts)


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}".replace("-0.00", "0.00")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
