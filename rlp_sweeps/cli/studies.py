"""Commands around a study before and after its sweep: new, show, compare, export."""

from pathlib import Path
from typing import Annotated

import typer

from rlp_sweeps.cli import completion
from rlp_sweeps.cli import options as opt
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.stores import as_path

EXPORT_FORMATS = ("csv", "parquet", "markdown", "latex")


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The study's name: NAME.py is written.")
    ],
    *,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RECIPE",
            autocompletion=completion.spaces,
            help="Begin with a copy of a recipe (`rlp-sweeps spaces`).",
        ),
    ] = None,
    json: opt.AsJson = False,
) -> None:
    """Write the file of a new study: a recipe with comments, ready to run."""
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.new_study import write_study

    path = write_study(name, recipe=from_)
    if json:
        print_json({"path": str(path)})
        return
    print(f"{path} is written: edit it, then `rlp-sweeps plan {path}` and `rlp-sweeps run {path}`.")


def show(
    directory: opt.Directory,
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL",
            autocompletion=completion.trials,
            help="A trial's id, or how it begins.",
        ),
    ],
    *,
    log: Annotated[
        bool,
        typer.Option(
            "--log",
            help="Show what its log holds instead, while it runs as well: starts, evaluations, "
            "warnings, what the user's own code printed, the trace that ended it.",
        ),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="With --log: go on until the trial has ended."),
    ] = False,
    json: opt.AsJson = False,
) -> None:
    """Show one trial: settings, result, evaluations, probes, and the error that ended it."""
    if log or follow:
        from rlp_sweeps.cli.trial_log import show_log

        show_log(directory, trial, follows=follow, is_json=json)
        return

    from analysis.one_trial import read_trial
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.cli.printing_trial import print_trial

    found = read_trial(directory, trial)
    if json:
        print_json(found.to_json())
    else:
        print_trial(found)


def compare(
    directories: Annotated[
        list[Path], opt.directory_argument("Run directories, two or more.", metavar="DIR DIR...")
    ],
    *,
    outcome: opt.Outcome = "test_accuracy",
    json: opt.AsJson = False,
) -> None:
    """Put the effects of several sweeps side by side, each with its difference from the first."""
    from analysis.comparison import compare_sweeps
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.cli.printing_trial import print_comparison

    comparison = compare_sweeps(directories, outcome=outcome)
    if json:
        print_json(comparison.to_json())
    else:
        print_comparison(comparison)


def export(
    directory: opt.Directory,
    *,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(EXPORT_FORMATS),
            autocompletion=completion.one_of(*EXPORT_FORMATS),
            help="csv and parquet: the tables as `query` sees them. markdown and latex: the "
            "report's tables, ready to paste into a paper.",
        ),
    ] = "csv",
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A table; repeatable. Default: all but samples."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=as_path, help="Where to write. Default: DIR/export."),
    ] = None,
    json: opt.AsJson = False,
) -> None:
    """Write a sweep's tables as CSV or Parquet, or the report's as Markdown or LaTeX."""
    opt.check_choice("--format", format_, EXPORT_FORMATS)
    from analysis.export import export_tables
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.containment import check_links

    if output is None:
        check_links(directory)
    written = export_tables(
        directory, format_=format_, tables=table or (), output=output or directory / "export"
    )
    if not written:
        msg = f"a sweep must have tables to export, but {directory} has none yet."
        raise ArgumentError(msg)
    if json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        print(path)
