"""Options that several commands take together, as one value.

A command names a group as the type of a parameter; `ungroup` shows typer the options in its place.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from rlp_sweeps.cli import options as opt

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.progress import RunOptions


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where groups of trials are trained, how many at once, and within which budget.

    Attributes are options of the same names.
    """

    device: opt.Device = "auto"
    max_concurrent: opt.MaxConcurrent = None
    cpus_per_group: opt.CpusPerGroup = 1.0
    gpus_per_group: opt.GpusPerGroup = None
    max_hours: opt.MaxHours = None
    max_trials: opt.MaxTrials = None

    def run_options(self, **others: Any) -> "RunOptions":
        """Return what a sweep is told, with further fields of `RunOptions`.

        Raises:
            ClusterError, ArgumentError: A value breaks its rule.
        """
        from rlp_sweeps.orchestration.progress import RunOptions

        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if "trial_timeout" in given:
            given["trial_timeout_s"] = given.pop("trial_timeout")
        return RunOptions(**given, **others)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Driving(Place):
    """The options of every command that trains: the place, its cluster, and who is told.

    Attributes are options of the same names.
    """

    address: opt.Address = None
    trial_timeout: opt.TrialTimeout = None
    tracking_uri: opt.TrackingUri = None


def ungroup(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return a command that takes each option of its groups by itself, as typer reads them."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if not dataclasses.is_dataclass(parameter.annotation):
            parameters.append(parameter)
            continue
        groups[parameter.name] = parameter.annotation
        parameters += [
            inspect.Parameter(
                field.name, parameter.kind, default=field.default, annotation=field.type
            )
            for field in dataclasses.fields(parameter.annotation)
        ]

    @wraps(command)
    def run(**given: Any) -> int | None:
        for name, group in groups.items():
            fields = dataclasses.fields(group)
            given[name] = group(**{field.name: given.pop(field.name) for field in fields})
        return command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
