"""When a fault comes: a phase of the sweep, and a random delay within it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.faults.space import GROUP_SIZE, NUM_TRIALS
from benchmarks.faults.sweep import Sweep

ATTEMPT_TIMEOUT_S = 600.0
"""Longest wait for a phase, or for a driver's end."""

_PHASES = {"starting": 0.2, "training": 0.5, "ending": 0.3}
_ONLY_TRAINING = {"starting": 0.0, "training": 1.0, "ending": 0.0}
_NOT_ENDING = {"starting": 0.2, "training": 0.8, "ending": 0.0}
_PHASES_OF = {
    "worker": _ONLY_TRAINING,
    "node": _ONLY_TRAINING,
    "head": _ONLY_TRAINING,
    "mlflow": _ONLY_TRAINING,
    "raylet": _NOT_ENDING,
    "gcs": _NOT_ENDING,
    "disk_full": _ONLY_TRAINING,
}


@dataclass(frozen=True, slots=True)
class Spans:
    """How long the phases of an undisturbed sweep take here, in seconds.

    Attributes:
        starting: From a driver's start to its first group.
        training: To the last row.
        ending: To its end.
    """

    starting: float
    training: float
    ending: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A random moment.

    Attributes:
        phase: It comes in this one,
        delay_s: these seconds after its begin.
    """

    phase: str
    delay_s: float

    @classmethod
    def draw(
        cls, kind: str, spans: Spans, rng: random.Random, *, num_left: int = NUM_TRIALS
    ) -> "Moment":
        """Return a moment for a fault of this kind.

        Args:
            kind: One of `KINDS`.
            spans: Of a whole sweep.
            rng: Draws it.
            num_left: Trials that the driver has to train; its training takes their share.
        """
        weights = _PHASES_OF.get(kind, _PHASES)
        phase = rng.choices(list(weights), list(weights.values()))[0]
        span_s = getattr(spans, phase) * (num_left / NUM_TRIALS if phase == "training" else 1.0)
        return cls(phase, rng.uniform(0.0, span_s))

    def await_in(self, sweep: Sweep, there: Callable[[], object] | None = None) -> bool:
        """Wait for it; return whether it came before the driver had ended.

        Args:
            sweep: Its driver is at work.
            there: What is to be hit; it is waited for, and the last trials are not let go by.
        """
        later = ("writing", "ending") if self.phase == "training" else ()
        reached = {self.phase, "ended", *later}
        sweep.wait(lambda: sweep.phase() in reached, timeout_s=ATTEMPT_TIMEOUT_S)
        until = time.monotonic() + self.delay_s

        def has_come() -> bool:
            if sweep.now.is_over:
                return True
            is_time = time.monotonic() >= until
            return is_time if there is None else _can_be_hit(sweep, there, is_time=is_time)

        sweep.wait(has_come, timeout_s=60.0 if there is None else ATTEMPT_TIMEOUT_S)
        return not sweep.now.is_over


def _can_be_hit(sweep: Sweep, there: Callable[[], object], *, is_time: bool) -> bool:
    """Whether something is there, and it is time, or the sweep's last trials are in training."""
    return bool(there()) and (is_time or sweep.num_left <= GROUP_SIZE)


def measured(sweep: Sweep) -> Spans:
    """Run a sweep undisturbed, and return how long its phases take.

    Raises:
        RuntimeError: It does not end well.
    """
    attempt = sweep.start()
    marks = []
    for phases in (("training", "writing", "ending", "ended"), ("ending", "ended"), ("ended",)):
        sweep.wait(lambda phases=phases: sweep.phase() in phases, timeout_s=ATTEMPT_TIMEOUT_S)
        marks.append(time.monotonic() - attempt.started)
    if attempt.process.poll() != 0 or not sweep.is_complete:
        msg = f"the undisturbed sweep must end with all rows, but it said: {attempt.said}"
        raise RuntimeError(msg)
    begun, trained, ended = marks
    return Spans(begun, max(0.5, trained - begun), max(0.5, ended - trained))
