"""Taps: what submodules of a network give in a forward that runs anyway, read by forward hooks.

Shapes: N samples, D features.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones import pool_features


class Tap(NamedTuple):
    """One attach point that is read beside the extractor's output.

    Attributes:
        attach_point: Name of a submodule of the extractor.
        is_detached: Nothing flows back into the extractor from what is read there.
        pools: Maps and tokens are averaged over places; else they are read as they are.
    """

    attach_point: str
    is_detached: bool
    pools: bool = True

    def read(self, output: Tensor) -> Tensor:
        """Return what heads read of a single network's output there, ``[N, D]`` where it pools."""
        source = output.detach() if self.is_detached else output
        read = pool_features(source) if self.pools else source
        is_output = output.ndim == 2 or not self.pools
        return read.clone() if is_output else read  # a layer above may overwrite it


@contextmanager
def tapped(
    modules: Mapping[str, nn.Module], read: Callable[[str, Tensor], Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Yield what modules give, by name, renewed by every forward inside.

    Args:
        modules: Those to read, by name.
        read: Makes of a name and the module's output what is kept.
    """
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            outputs[name] = read(name, output)

        return keep

    handles = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def take(outputs: dict[str, Tensor], names: Iterable[str]) -> tuple[Tensor, ...]:
    """Return what was read in the last forward, in the order of `names`, and forget it.

    Raises:
        BackboneError: The forward did not run one of them.
    """
    taken = []
    for name in names:
        if name not in outputs:
            msg = (
                f"an attach point must be run by the backbone's forward, but {name!r} is not; name "
                "a submodule that is called."
            )
            raise BackboneError(msg)
        taken.append(outputs.pop(name))
    return tuple(taken)


def tapped_forward(
    root: nn.Module,
    taps: Iterable[Tap],
    forward: Callable[[], Tensor],
    *,
    read: Callable[[Tap, Tensor], Tensor] = Tap.read,
) -> tuple[Tensor, ...]:
    """Return what a forward gives, then what its taps read.

    Args:
        root: Holds the tapped submodules.
        taps: Where to read.
        forward: Runs `root` once.
        read: Makes of a tap and the module's output what the heads read.
    """
    by_name = {tap.attach_point: tap for tap in taps}
    if not by_name:
        return (forward(),)
    modules = {name: root.get_submodule(name) for name in by_name}
    with tapped(modules, lambda name, output: read(by_name[name], output)) as outputs:
        return (forward(), *take(outputs, by_name))


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Put every module into eval mode inside, and each back into its own mode on leaving."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
