"""Options that several commands share, and the requests made from them.

A value is checked here where no part below would see it as the user wrote it; everything else is
checked by the part that knows its rule.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Annotated

import typer
from typer.models import ArgumentInfo

from rlp_sweeps.api import requests
from rlp_sweeps.cli import completion
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.recipes import NamedSpace
from rlp_sweeps.settings import SETTINGS, decimal_comma_notice, example_setting
from rlp_sweeps.stores import as_path

DONE, SOME_FAILED, WRONG_REQUEST, OUT_OF_BUDGET, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit status of every command."""

Space = Annotated[
    str,
    typer.Argument(
        metavar="SPACE",
        autocompletion=completion.spaces,
        help="A recipe's name (see `rlp-sweeps spaces`), a dotted module, or a path to a .py file; "
        "it must define SPACE. `SPACE:paper`: the study at the size of its paper, and "
        "likewise any other size that `rlp-sweeps spaces` lists.",
    ),
]


def directory_argument(text: str, *, metavar: str = "DIR") -> ArgumentInfo:
    """Return an argument that takes run directories.

    Args:
        text: Its help.
        metavar: How it is called there.
    """
    argument: ArgumentInfo = typer.Argument(
        metavar=metavar, parser=as_path, autocompletion=completion.run_directories, help=text
    )
    return argument


Directory = Annotated[Path, directory_argument("A run directory: a folder, or s3://BUCKET/PREFIX.")]
Outcome = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        autocompletion=completion.metrics,
        help="The metric that effects are on.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDR",
        help="A running Ray cluster: host:port or 'auto'. Default: a local one of its own.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda",
        autocompletion=completion.one_of("auto", "cpu", "cuda"),
        help="Where trials are trained.",
    ),
]
GroupSize = Annotated[
    str,
    typer.Option(metavar="auto|N", help="Most trials that are trained together on one device."),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|NAME",
        autocompletion=completion.one_of(
            "auto", "sequential", "grouped", "vmap", "graph", "grouped_graph"
        ),
        help="How a group is trained: auto, sequential, grouped, vmap or, on CUDA, graph or "
        "grouped_graph. Auto takes the fastest: by a stored calibration on a CPU, by probes on a "
        "GPU.",
    ),
]
MaxConcurrent = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Groups at once, and as many as a running cluster may grow for. Default: as many as "
        "fit.",
    ),
]
CpusPerGroup = Annotated[float, typer.Option(metavar="X", help="CPU cores of one group.")]
GpusPerGroup = Annotated[
    float | None,
    typer.Option(
        metavar="X", help="GPUs of one group, fractions share one. Default: 1 on cuda, 0 on cpu."
    ),
]
TrialTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="End a group that completes no epoch for so long, building and probing included; its "
        "trials have failed. Default: wait for ever.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow store. Default: mlflow.db (SQLite) beside the run directory; of one in a "
        "store MLFLOW_TRACKING_URI, or none.",
    ),
]
NumSeeds = Annotated[
    int | None, typer.Option(metavar="N", help="Replicates, instead of the recipe's number.")
]
FirstSeed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of the first replicate, for a pilot on seeds the study leaves out.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        autocompletion=completion.settings,
        help="Replace a fixed setting, or an axis by the value(s): --set lr=0.01,0.1. Repeatable. "
        f"Settings: {', '.join(SETTINGS)}.",
    ),
]
KeepSamples = Annotated[
    bool,
    typer.Option(
        "--keep-samples",
        help="Keep what is predicted of every sample, for memorization scores.",
    ),
]
LogModels = Annotated[
    bool,
    typer.Option(
        "--log-models",
        help="Keep every trained network and show it in MLflow; `rlp_sweeps.load_model` reads it.",
    ),
]
SeedSpread = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Standard deviation over seeds of the pooled effect, in units of test accuracy: says "
        "which effects the planned seeds can see.",
    ),
]
Pilot = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        parser=as_path,
        autocompletion=completion.run_directories,
        help="An analyzed run whose largest seed spread is taken instead.",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Import and call the data set or backbone of one's own that the run directory names, "
        "though this user did not begin it. Without it such a directory is refused.",
    ),
]
MaxHours = Annotated[
    float | None,
    typer.Option(
        metavar="H",
        help="Stop this call after H hours: no group starts any more, those at work go on to the "
        "end of their epoch (five minutes at most) and keep a checkpoint. `resume` goes on.",
    ),
]
MaxTrials = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Train N trials in this call at most: whole groups, where trials train together.",
    ),
]
NoAnalyze = Annotated[bool, typer.Option("--no-analyze", help="Train only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(sentence: str) -> None:
    """Print one sentence on stderr, signed with the program's name."""
    print(f"rlp-sweeps: {plain(' '.join(sentence.split()))}", file=sys.stderr, flush=True)


def plain(text: str) -> str:
    """Return a text of a run directory as a terminal may show it: no character commands it."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def resolve_space(
    reference: str,
    *,
    settings: Sequence[str] | None,
    num_seeds: int | None,
    first_seed: int | None = None,
) -> NamedSpace:
    """Return the search space that is asked for, with overrides and seeds applied.

    Raises:
        SearchSpaceError: There is no such space, or it cannot be rendered as asked.
        ConfigError: A setting is unknown or its value breaks its rule.
        ArgumentError: A setting is not written as NAME=VALUE, or is given twice.
    """
    overrides = parse_settings(settings or ())
    named = requests.resolve_space(
        reference, overrides=overrides, num_seeds=num_seeds, first_seed=first_seed
    )
    note_commas(overrides)
    return named


def note_commas(settings: Mapping[str, str]) -> None:
    """Say which texts of ``--set NAME=VALUE`` may have been meant with a decimal comma."""
    for sentence in filter(None, starmap(decimal_comma_notice, settings.items())):
        say(sentence)


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Return the texts of ``--set NAME=VALUE`` by name.

    Raises:
        ArgumentError: One has no ``=`` or no name, or a name is given twice.
    """
    parsed: dict[str, str] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            example = example_setting(name.strip() or "lr")
            msg = (
                "`--set NAME=VALUE` must name a setting and its value(s), as in "
                f"`--set {example}`, but got --set {text!r}."
            )
            raise ArgumentError(msg)
        if name.strip() in parsed:
            msg = (
                f"`--set` must give each setting once, but {name.strip()!r} comes twice; several "
                "values are separated by commas."
            )
            raise ArgumentError(msg)
        parsed[name.strip()] = value.strip()
    return parsed


def parse_group_size(text: str) -> int | None:
    """Return the number of trials in a group; none for ``auto``.

    Raises:
        ArgumentError: The text is neither ``auto`` nor a number of at least 1.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        msg = f"`--group-size` must be 'auto' or at least 1, but got {text!r}."
        raise ArgumentError(msg)
    return int(text)


def check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that an option does not know.

    Raises:
        ArgumentError: The value is none of the choices.
    """
    if value not in choices:
        msg = f"`{option}` must be one of {list(choices)}, but got {value!r}."
        raise ArgumentError(msg)
