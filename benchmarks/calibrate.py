"""Speed-up of every engine over sequential by network, batch and group size, on one CPU thread.

    python -m benchmarks.calibrate [--rounds N] [--budget-s S] [--only TEXT] [--output FILE]

Writes the table that the planner chooses engines from on a CPU. Each round trains one short epoch
of every alternative, interleaved, in process CPU time; a speed-up is the median over rounds of the
ratio of seconds a member, paired within a round, and of two such medians the smaller one: without
evaluation, and with one after each epoch. `--only` measures the networks whose names contain the
text and keeps the others' entries.
"""

import argparse
import platform
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata, resources
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import interleave, paired_ratio
from rlp_sweeps.config import Scalar, TrialConfig
from rlp_sweeps.orchestration.calibration import FILE, Calibration, CalibrationEntry
from rlp_sweeps.training.datasets import load_image_arrays
from rlp_sweeps.training.engines import ENGINES
from rlp_sweeps.training.engines.probing import ShortTraining
from rlp_sweeps.training.engines.traits import engine_refusal, net_traits
from rlp_sweeps.training.memory import keep_freed_memory

GROUP_SIZES = (4, 8, 16)
NUM_STEPS = 16
"""Steps an epoch; with fewer, what is done once an epoch, where groups gain most, counts most."""

_HOPELESS = 0.95
"""Speed-up of the smallest group in one round below which no larger group of an engine is timed."""

_DIGITS, _GRAY = "synthetic:1,8,8,10,2048", "synthetic:1,28,28,10,2048"


def _net(dataset: str, backbone: str, batch_size: int, **settings: Scalar) -> dict[str, Scalar]:
    return {"dataset": dataset, "backbone": backbone, "batch_size": batch_size, **settings}


NETS: tuple[dict[str, Scalar], ...] = (
    _net(_DIGITS, "mlp", 32, backbone_width=32),
    _net(_DIGITS, "mlp", 64),
    _net(_DIGITS, "mlp", 128),
    _net(_GRAY, "mlp", 128),
    _net(_DIGITS, "small_cnn", 32, backbone_width=8),
    _net(_DIGITS, "small_cnn", 32),
    _net(_DIGITS, "small_cnn", 64),
    _net(_DIGITS, "small_cnn", 128),
    _net(_DIGITS, "vit", 16, backbone_depth=2, backbone_width=32),
)


def measure(
    settings: Mapping[str, Scalar], *, num_rounds: int, budget_s: float
) -> CalibrationEntry:
    """Return one network's entry.

    One round of the smallest groups tells which engines lose; of the others all group sizes are
    timed side by side.

    Args:
        settings: Of the trials.
        num_rounds: Most rounds.
        budget_s: Seconds after which no further round of this network starts.
    """
    config = TrialConfig.from_dict(
        {"arm": "full", "lr": 1e-3, "rlp_lambda": 1.0, "seed": 0, **settings}
    )
    info = load_image_arrays(config.dataset, data_dir="").info
    engines = [
        engine
        for engine in ENGINES
        if engine != "sequential" and engine_refusal(config, info, engine=engine) is None
    ]
    found: dict[tuple[str, int], float] = {}
    smallest = [(engine, GROUP_SIZES[0]) for engine in engines]
    found |= _speed_ups(interleave(_alternatives(config, smallest), num_rounds=1))
    hopeful = [engine for engine, size in smallest if found[engine, size] >= _HOPELESS]
    alternatives = _alternatives(config, list(product(hopeful, GROUP_SIZES)))
    found |= _speed_ups(interleave(alternatives, num_rounds=num_rounds, budget_s=budget_s))
    table: dict[str, dict[int, float]] = {}
    for (engine, size), speed_up in sorted(found.items()):
        table.setdefault(engine, {})[size] = round(speed_up, 2)
    traits = net_traits(config, info)
    return CalibrationEntry(
        net=describe(settings),
        config=dict(settings),
        kind=traits.kind,
        precision=traits.precision,
        work=traits.work,
        speed_ups=table,
    )


def describe(settings: Mapping[str, Scalar]) -> str:
    """Return a network in words: ``mlp, width 32, batch 32, images 1×8×8``."""
    shape = str(settings["dataset"]).partition(":")[2].split(",")[:3]
    parts = [str(settings["backbone"])]
    parts += [
        f"{n} {settings[f'backbone_{n}']}"
        for n in ("depth", "width")
        if f"backbone_{n}" in settings
    ]
    return ", ".join([*parts, f"batch {settings['batch_size']}", f"images {'×'.join(shape)}"])


def _alternatives(
    config: TrialConfig, groups: list[tuple[str, int]]
) -> dict[str, Callable[[], object]]:
    """Return each group's epoch with and without evaluation, the sequential ones first."""
    alternatives: dict[str, Callable[[], object]] = {}
    for engine, size in [("sequential", 1), *groups]:
        training = ShortTraining(
            config,
            engine=engine,
            group_size=size,
            num_steps=NUM_STEPS,
            data_dir="",
            device=torch.device("cpu"),
        )
        for evaluates in (False, True):
            alternatives[f"{engine} {size} {evaluates}"] = partial(
                training.train_epoch, evaluates=evaluates
            )
    return alternatives


def _speed_ups(seconds: Mapping[str, list[float]]) -> dict[tuple[str, int], float]:
    """Return the smaller speed-up of the two for each engine and group size."""
    found: dict[tuple[str, int], float] = {}
    for name in seconds:
        engine, size, evaluates = name.split()
        if engine != "sequential":
            ratio = paired_ratio(seconds, f"sequential 1 {evaluates}", name)
            speed_up = int(size) * ratio.median
            key = (engine, int(size))
            found[key] = min(speed_up, found.get(key, speed_up))
    return found


def made_with(num_rounds: int) -> dict[str, Any]:
    """Return what the numbers stand on, without names of hosts or folders."""
    return {
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
        "processor": _processor(),
        "num_threads": torch.get_num_threads(),
        "clock": "process CPU time",
        "num_rounds": num_rounds,
        "steps_an_epoch": NUM_STEPS,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{names[0] if names else platform.machine()}, {capability}"


def main() -> None:
    """Measure, print one line a network, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget-s", type=float, default=20.0)
    parser.add_argument("--only", default="")
    stored = Path(str(resources.files("rlp_sweeps.orchestration").joinpath(FILE)))
    parser.add_argument("--output", type=Path, default=stored)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    kept = {}
    if arguments.only and arguments.output.exists():
        table = Calibration.from_text(arguments.output.read_text(encoding="utf-8"))
        kept = {entry.net: entry for entry in table.entries}
    for settings in NETS:
        if arguments.only in describe(settings):
            entry = measure(settings, num_rounds=arguments.rounds, budget_s=arguments.budget_s)
            kept[entry.net] = entry
            print(f"{entry.net:52s} work {entry.work:9.3g}  {dict(entry.speed_ups)}", flush=True)
            entries = tuple(kept[describe(s)] for s in NETS if describe(s) in kept)
            calibration = Calibration(entries=entries, made_with=made_with(arguments.rounds))
            arguments.output.write_text(calibration.to_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
