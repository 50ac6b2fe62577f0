"""The command that asks how long a sweep would take, and lets it run in simulated time."""

from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlp_sweeps.api.requests import default_directory
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.ending import note_further
from rlp_sweeps.cli.sweeping import watch
from rlp_sweeps.errors import ArgumentError, DatasetFilesError
from rlp_sweeps.stores import absolute_path, as_path, check_store, is_remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlp_sweeps.orchestration.planner import SweepPlan
    from rlp_sweeps.orchestration.simulation import Simulation, SimulationReport
    from rlp_sweeps.recipes import NamedSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """The simulated machines, and what becomes of them.

    Attributes are options of the same names.
    """

    nodes: Annotated[int, typer.Option(metavar="N", help="Machines.")] = 1
    slots: Annotated[int, typer.Option(metavar="N", help="Groups at once on a machine.")] = 1
    failures_per_hour: Annotated[
        float, typer.Option(metavar="X", help="Failures of one machine in an hour.")
    ] = 0.0
    spot_nodes: Annotated[
        int, typer.Option(metavar="N", help="Further machines, which come and go.")
    ] = 0
    spot_hours: Annotated[
        float, typer.Option(metavar="X", help="Mean hours until such a machine goes.")
    ] = 2.0
    minutes_down: Annotated[
        float, typer.Option(metavar="X", help="Minutes until a lost machine is back.")
    ] = 5.0
    start_seconds: Annotated[
        float, typer.Option(metavar="X", help="Seconds of the driver for the start of a group.")
    ] = 0.0
    hours: Annotated[
        float | None,
        typer.Option(metavar="X", help="Stop after so many simulated hours; resume goes on."),
    ] = None
    seed: Annotated[int, typer.Option(metavar="N", help="Of the losses.")] = 0

    def simulation(self, **others: Any) -> "Simulation":
        """Return what is simulated, with further fields of `Simulation`.

        Raises:
            ArgumentError: A value breaks its rule.
        """
        from rlp_sweeps.orchestration.simulation import Simulation

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return Simulation(start_s=given.pop("start_seconds"), **given, **others)


def simulate(  # noqa: PLR0913  # one parameter an option
    space: Annotated[
        str,
        typer.Argument(
            metavar="SPACE|DIR",
            help="A search space as `rlp-sweeps run` takes it, or a run directory, whose plan and "
            "results are taken.",
        ),
    ],
    *,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            parser=as_path,
            help="Take results and times from this sweep. Repeatable.",
        ),
    ] = None,
    nearest: Annotated[
        bool,
        typer.Option(
            "--nearest", help="A trial that is not recorded takes the nearest one's results."
        ),
    ] = False,
    epoch_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Make results up, with epochs of a trial that take so long."
        ),
    ] = None,
    machines: Machines,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=as_path, help="Default: runs/SPACE-simulated-DATE-TIME."
        ),
    ] = None,
    engine: opt.Engine = "auto",
    group_size: opt.GroupSize = "auto",
    num_seeds: opt.NumSeeds = None,
    set_: opt.Settings = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Tell this MLflow store of it. Default: none."),
    ] = None,
) -> int:
    """Let a sweep run in simulated time: how long on so many machines, with which losses.

    Trials are not trained: they take the seconds and end with the rows that were recorded.
    """
    from rlp_sweeps.orchestration.progress import RunOptions
    from rlp_sweeps.orchestration.simulation import SimulatedExecutor, read_reports
    from rlp_sweeps.orchestration.sweep import run_sweep

    size = opt.parse_group_size(group_size)
    place = as_path(space)
    for path in (place, *([] if output is None else [output]), *(recorded or ())):
        check_store(path)
    is_directory = is_remote(place) or (place / "manifest.json").exists()
    named = None if is_directory else opt.resolve_space(space, settings=set_, num_seeds=num_seeds)
    own = [place] if is_directory and epoch_seconds is None else []
    simulation = machines.simulation(
        recorded=tuple(str(absolute_path(path)) for path in (*own, *(recorded or ()))),
        is_nearest=nearest,
        epoch_s=epoch_seconds,
    )
    if named is None:
        changes = {"--set": set_, "--num-seeds": num_seeds, "--group-size": size}
        _check_as_recorded(space, {**changes, "--engine": engine != "auto"})
        planned = _recorded_plan(place, simulation)
    else:
        planned = _new_plan(named, simulation, engine=engine, group_size=size)
    directory = output or default_directory(f"{planned.name}-simulated")
    status = watch(
        lambda progress: run_sweep(
            planned,
            output=directory,
            options=RunOptions(tracking_uri=tracking_uri),
            progress=progress,
            executor=SimulatedExecutor(simulation),
        ),
        directory,
        is_analyzed=False,
        tracking_uri=tracking_uri,
    )
    for report in read_reports(directory)[-1:]:
        _print_report(report)
        note_further(simulation=asdict(report))
    return status


def _check_as_recorded(directory: str, changes: "Mapping[str, object]") -> None:
    """Refuse options that would change a recorded plan."""
    given = [name for name, value in changes.items() if value]
    if given:
        msg = (
            f"the plan of a run directory is simulated as it is, but got {given} besides "
            f"{directory}; to change it give its search space, and the directory as --recorded."
        )
        raise ArgumentError(msg)


def _recorded_plan(directory: Path, simulation: "Simulation") -> "SweepPlan":
    """Return a sweep's plan; its follow-ups are left out."""
    from rlp_sweeps.orchestration.planner import plan_from_manifest
    from rlp_sweeps.tracking.run_directory import RunDirectory

    manifest = {**RunDirectory.open(directory).manifest, "follow_ups": []}
    return replace(plan_from_manifest(manifest), slots=simulation.num_slots)


def _new_plan(
    named: "NamedSpace", simulation: "Simulation", *, engine: str, group_size: int | None
) -> "SweepPlan":
    """Return the plan of a space, balanced for the simulated cluster; data may be absent."""
    from rlp_sweeps.orchestration.engine_choice import Room
    from rlp_sweeps.orchestration.planner import plan_sweep

    request = partial(
        plan_sweep,
        named.space,
        name=named.name,
        device="cpu",
        engine=engine,
        group_size=group_size,
        room=Room(slots=simulation.num_slots),
    )
    try:
        return request()
    except DatasetFilesError:
        return request(checks_data=False)


def _print_report(report: "SimulationReport") -> None:
    from rlp_sweeps.views.progress_state import in_words

    print(
        f"simulated: {in_words(report.time_s)} on {report.num_slots} slot(s), busy for "
        f"{report.busy_share:.1%} of their time; {report.num_groups} groups, "
        f"{report.num_trials} trials, {report.trial_epochs} trial-epochs"
    )
    if report.num_stopped:
        total = report.trial_epochs + report.trial_epochs_saved
        print(
            f"stopped early: {report.num_stopped} trials, which saved {report.trial_epochs_saved} "
            f"of {total} trial-epochs"
        )
    if report.num_cut_short:
        print(f"cut short: {report.num_cut_short} trials, of which no more is recorded")
    if report.num_nodes_lost:
        print(
            f"lost: {report.num_nodes_lost} machine(s), with them {report.num_groups_lost} "
            f"group(s) that were started again and {report.num_groups_given_up} that were given up;"
            f" {in_words(report.lost_s)} of training since their last checkpoints"
        )
