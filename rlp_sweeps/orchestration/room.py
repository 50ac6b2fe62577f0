"""How many groups a sweep has room for at once, known before it starts."""

from rlp_sweeps.orchestration.engine_choice import Room
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources, check_address, local_resources


def room_for(options: RunOptions, *, device: str) -> Room:
    """Return the room that these options give; a running cluster is asked for its own.

    It may grow to hold all the groups at once that the options name.

    Args:
        options: Where the sweep runs.
        device: ``cpu`` or ``cuda``.

    Raises:
        ClusterError: A group does not fit, or the cluster does not answer.
    """
    resources = GroupResources.of(options, device=device)
    if options.address is None:
        slots = resources.slots(local_resources(options, resources))
        slots = min(slots, options.max_concurrent or slots)
    else:
        slots = resources.slots(*check_address(options.address))
        slots = options.max_concurrent or slots
    return Room(slots=slots, gpu_share=min(1.0, resources.num_gpus or 1.0))
