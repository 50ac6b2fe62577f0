"""The command that probes trained networks."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from rlp_sweeps.api.requests import probe_names, split_names
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.output import tell_result

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.probing import ProbedTrial, ProbingOutcome
    from rlp_sweeps.probes.features import Pooling

POOLINGS = ("average", "flatten")

Probes = Annotated[
    str,
    typer.Option(
        metavar="all|NAME,...",
        help="rlp_online, rlp_offline, knn, masc, class_mean, lda, linear (docs/method.md).",
    ),
]
Trials = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Probe these trials only. Repeatable, or separated by commas."),
]


def probe(  # noqa: PLR0913  # one parameter an option
    directory: opt.Directory,
    *,
    probes: Probes = "all",
    trials: Trials = None,
    pooling: Annotated[
        str,
        typer.Option(
            metavar="|".join(POOLINGS), help="What becomes of maps and tokens: their mean, or all."
        ),
    ] = "average",
    address: opt.Address = None,
    device: opt.Device = "auto",
    max_concurrent: Annotated[
        int | None, typer.Option(metavar="N", help="Networks at once. Default: as many as fit.")
    ] = None,
    cpus_per_group: Annotated[
        float, typer.Option(metavar="X", help="CPU cores, and threads, that probe one network.")
    ] = 1.0,
    gpus_per_group: opt.GpusPerGroup = None,
    trust_code: opt.TrustCode = False,
    json: opt.AsJson = False,
) -> int:
    """Probe the networks of a sweep that kept its weights (run --keep-weights).

    Writes DIR/probes: RLP heads at their optimum, kNN, MASC and plain probes at every attach point,
    beside pixels, the networks before training and Gaussian features. Rows that are there stay.
    Networks are probed side by side, by a local Ray cluster where its start pays off.
    """
    opt.check_choice("--pooling", pooling, POOLINGS)

    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.orchestration.probing import probe_sweep
    from rlp_sweeps.orchestration.progress import RunOptions
    from rlp_sweeps.probes import ProbeOptions

    options = ProbeOptions(probes=probe_names(probes), pooling=cast("Pooling", pooling))
    try:
        outcome = probe_sweep(
            directory,
            options=options,
            run_options=RunOptions(
                address=address,
                device=device,
                max_concurrent=max_concurrent,
                cpus_per_group=cpus_per_group,
                gpus_per_group=gpus_per_group,
                trusts_code=trust_code,
            ),
            trial_ids=split_names(trials or []),
            on_trial=_print_trial,
        )
    except KeyboardInterrupt:
        say(f"interrupted; what is probed is kept, and `rlp-sweeps probe {directory}` goes on.")
        return opt.INTERRUPTED
    _print_outcome(outcome, directory)
    if json:
        print_json({"folder": str(directory / "probes"), **asdict(outcome)})
    return opt.SOME_FAILED if outcome.unreadable or outcome.failed else opt.DONE


def _print_trial(trial: "ProbedTrial") -> None:
    """Print a trial's recall at the last layer, and test accuracies at those that validate best."""
    from rlp_sweeps.probes import PROBES, best_layer

    config, found = trial.config, []
    trained = [row for row in trial.rows if row.source == "trained"]
    for name in PROBES:
        rows = [row for row in trained if row.probe == name]
        if not rows:
            continue
        row = max(rows, key=lambda row: row.layer)
        if row.label_set == "random":
            found.append(f"{name} {row.train_accuracy:.3f} at {row.attach_point}")
        else:
            best = best_layer(rows, probe=name, label_set="true")
            found.append(f"{name} {best.test_accuracy:.3f} at {best.attach_point}")
    print(
        f"[{trial.number}/{trial.num_trials}] {config.trial_id} {config.arm}, lr {config.lr:g}, "
        f"λ {config.rlp_lambda:g}, seed {config.seed}: {', '.join(found)}",
        flush=True,
    )


def _print_outcome(outcome: "ProbingOutcome", directory: Path) -> None:
    for sentence in (*outcome.left_out, *outcome.unreadable, *outcome.failed):
        say(sentence)
    parts = [f"{outcome.num_probed} trials probed", f"{outcome.num_complete} had their rows"]
    if outcome.num_without_weights:
        parts.append(f"{outcome.num_without_weights} without weights")
    if outcome.unreadable:
        parts.append(f"{len(outcome.unreadable)} unreadable")
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} failed")
    tell_result(f"probes: {directory / 'probes'} ({', '.join(parts)})")
