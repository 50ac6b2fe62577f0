"""Engines timed on real shapes, and what is chosen from it."""

import dataclasses

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, ConfigError, DatasetError
from rlp_sweeps.orchestration.engine_choice import (
    EngineRequest,
    Kind,
    choose_engine,
)
from rlp_sweeps.orchestration.evidence import (
    dataset_info,
    evidence_from_probes,
)
from rlp_sweeps.training.engines import probing
from rlp_sweeps.training.engines.probing import EngineProbe, Prober, split_sizes


def _config(**settings):
    given = {"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0, "dataset": "digits"}
    return TrialConfig.from_dict({**given, **settings})


def _kind(*blocks, **settings):
    return Kind(config=_config(**settings), blocks=blocks)


# --- probes ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class FakeProber:
    """Answers from a table of seconds a step; what it lacks is out of memory."""

    step_s: dict
    peaks: dict = dataclasses.field(default_factory=dict)
    broken: tuple = ()
    data_dir: str = ""
    device: torch.device = torch.device("cpu")  # noqa: RUF009  a device is a plain value
    now: float = 0.0

    def clock(self):
        return self.now

    def probe(self, config, *, engine, group_size):
        self.now += 1.0
        key = (engine, group_size)
        if engine in self.broken:
            raise ConfigError(f"a trial must train, but does not: {engine} is broken.")
        if key not in self.step_s:
            return EngineProbe(engine=engine, group_size=group_size, reason="out of memory")
        return EngineProbe(
            engine=engine,
            group_size=group_size,
            step_s=self.step_s[key],
            peak_memory_bytes=self.peaks.get(key),
        )


def _probed(step_s, *, budget_s=100.0, **options):
    prober = FakeProber({("sequential", 1): 1.0, **step_s}, **options)
    kind, request = _kind(64, batch_size=32), EngineRequest()
    evidence = evidence_from_probes(kind, request, prober=prober, budget_s=budget_s)
    return choose_engine(kind, request, evidence)


def test_probe_picks_the_fastest_engine_and_records_what_it_timed():
    choice = _probed({("grouped", 4): 0.5, ("vmap", 4): 0.4, ("vmap", 16): 0.2})

    assert (choice.engine, choice.group_size, choice.speed_up) == ("vmap", 16, 5.0)
    assert choice.why == "5.0× measured on cpu"
    timed = [(probe["engine"], probe["group_size"], probe["reason"]) for probe in choice.probes]
    assert timed[:2] == [("sequential", 1, None), ("grouped", 4, None)]
    assert ("grouped", 16, "out of memory") in timed


def test_probe_of_larger_groups_ends_with_the_gain():
    choice = _probed({("grouped", 4): 0.5, ("grouped", 16): 0.5, ("grouped", 64): 0.1})

    assert choice.group_size == 4
    assert ("grouped", 64) not in [(p["engine"], p["group_size"]) for p in choice.probes]


def test_probe_ends_with_its_budget():
    """The single trial's probe, which takes a second too, does not count."""
    times = {("grouped", 4): 0.5, ("grouped", 16): 0.1, ("grouped", 64): 0.01}
    choice = _probed(times, budget_s=1.5)

    assert [(p["engine"], p["group_size"]) for p in choice.probes] == [
        ("sequential", 1),
        ("grouped", 4),
        ("grouped", 16),
    ]


def test_probe_refuses_a_group_that_leaves_no_room_for_the_data(monkeypatch):
    monkeypatch.setattr(probing, "memory_limit", lambda device, *, share: 1_000_000)

    choice = _probed(
        {("grouped", 4): 0.5, ("grouped", 16): 0.1},
        peaks={("grouped", 4): 100_000, ("grouped", 16): 950_000},
    )

    assert choice.group_size == 4
    assert any("bytes needed" in (probe["reason"] or "") for probe in choice.probes)


def test_an_engine_that_breaks_a_trial_leaves_the_others_to_choose_from():
    choice = _probed({("vmap", 4): 0.4}, broken=("grouped",))

    assert choice.engine == "vmap"
    (reason,) = {probe["reason"] for probe in choice.probes if probe["engine"] == "grouped"}
    assert reason == "a trial must train, but does not: grouped is broken."


def test_a_broken_engine_that_was_asked_for_is_refused_with_its_reason():
    prober = FakeProber({("sequential", 1): 1.0}, broken=("grouped",))
    request = EngineRequest(engine="grouped")
    evidence = evidence_from_probes(_kind(8), request, prober=prober)

    with pytest.raises(BackboneError, match="does not: grouped is broken"):
        choose_engine(_kind(8), request, evidence)


def test_probe_raises_what_breaks_a_trial_alone():
    prober = FakeProber({}, broken=("sequential",))

    with pytest.raises(ConfigError, match="sequential is broken"):
        evidence_from_probes(_kind(8), EngineRequest(), prober=prober)


def test_probe_refuses_a_trial_that_does_not_fit_alone():
    prober = FakeProber({})

    with pytest.raises(BackboneError, match="choose a smaller batch_size"):
        evidence_from_probes(_kind(8), EngineRequest(), prober=prober)


@pytest.mark.parametrize("engine", ["sequential", "grouped", "vmap"])
def test_prober_times_real_steps_of_every_engine(engine):
    config = _config(backbone="mlp", backbone_width=8, batch_size=64)
    prober = Prober(data_dir="", device=torch.device("cpu"))

    probe = prober.probe(config, engine=engine, group_size=3)

    assert probe.reason is None
    assert probe.step_s > 0
    sizes = split_sizes(config, data_dir="")
    longer = dataclasses.replace(config, num_epochs=60)
    assert probe.trial_s(longer, sizes) == pytest.approx(2 * probe.trial_s(config, sizes))


@dataclasses.dataclass
class SlowToStart:
    """Stands for `ShortTraining`; its clock advances by what it is told that an epoch costs."""

    start_s: float
    now: float = 0.0

    def __call__(self, config, *, num_steps, **_):
        self.num_steps, self.num_evaluated, self._waits_s = num_steps, 8, self.start_s
        return self

    def train_epoch(self, *, evaluates):
        self.now += self._waits_s + 0.01 * self.num_steps + 0.03
        self._waits_s = 0.0


def test_a_slow_start_leaves_steps_apart_from_what_an_epoch_costs(monkeypatch):
    training = SlowToStart(start_s=5.0)
    monkeypatch.setattr(probing, "ShortTraining", training)
    prober = Prober(data_dir="", device=torch.device("cpu"), clock=lambda: training.now)

    probe = prober.probe(_config(), engine="grouped", group_size=1)

    assert (probe.step_s, probe.epoch_s) == (pytest.approx(0.01), pytest.approx(0.03))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("no room"), "out of memory"),
        (BackboneError("this layer has no grouped form."), "this layer has no grouped form."),
    ],
)
def test_prober_says_why_an_engine_cannot(error, reason, monkeypatch):
    def raises(*_, **__):
        raise error

    monkeypatch.setattr("rlp_sweeps.training.engines.sequential.Member", raises)
    monkeypatch.setattr(probing, "get_engine", lambda name: raises)
    prober = Prober(data_dir="", device=torch.device("cpu"))

    probe = prober.probe(_config(backbone="mlp"), engine="grouped", group_size=4)

    assert probe.reason == reason


def test_prober_raises_what_is_wrong_with_the_trial(monkeypatch):
    def broken(*_):
        raise ArithmeticError("broken")

    monkeypatch.setattr("rlp_sweeps.training.member.Member.train_epoch", broken)
    prober = Prober(data_dir="", device=torch.device("cpu"))

    with pytest.raises(ConfigError, match="ArithmeticError: broken"):
        prober.probe(_config(backbone="mlp"), engine="sequential", group_size=1)


@pytest.mark.parametrize(("engine", "held"), [("grouped", 5), ("graph", 9), ("grouped_graph", 9)])
def test_a_graph_holds_what_it_reserved(engine, held, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 9)

    assert probing._peak_memory_bytes(torch.device("cuda"), engine) == held
    assert probing._peak_memory_bytes(torch.device("cpu"), engine) is None


# --- data -----------------------------------------------------------------------------------------


def load_nothing(data_dir):
    """Stands for a user's loader that raises."""
    raise KeyError(f"no images in {data_dir}")


def test_loader_that_raises_is_refused_before_anything_starts():
    with pytest.raises(DatasetError, match=r"must return images .* raised KeyError"):
        dataset_info(f"{__name__}.load_nothing", data_dir="here")
