"""Samples tables of learners whose memorization is known, and run directories that hold them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from analysis_frames import make_trials

from analysis.samples import Samples, find_samples

NUM_CLASSES = 4

Learner = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Predictions of labels, by the labels and by whether they were seen."""


def look_up(labels: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
    """Recall the labels that were seen and be wrong about all others."""
    return np.where(is_seen, labels, (labels + 1) % NUM_CLASSES)


def answer_constantly(labels: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
    """Answer class 0 whatever was seen."""
    return np.zeros_like(labels)


def make_seeds(num_seeds: int, **columns) -> pl.DataFrame:
    """Return the trials of one control cell."""
    return make_trials(arms=("control",), seeds=range(num_seeds), **columns)


def draw_seen(num_trials: int, num_samples: int, *, share: float = 0.7, seed: int = 0):
    """Return which sample each trial saw, a share of them drawn at random, ``[t, n]``."""
    chance = np.random.default_rng(seed).random((num_trials, num_samples))
    return chance.argsort(axis=1) < round(share * num_samples)


def turn_seen(num_samples: int):
    """Return which sample each of ten trials saw, every sample in seven of them, ``[10, n]``."""
    return (np.arange(10)[:, None] + np.arange(num_samples)) % 10 < 7


def make_samples(
    trials: pl.DataFrame, is_seen: np.ndarray, learner: Learner, *, true_labels=None, rlp=None
) -> pl.DataFrame:
    """Return one row a trial and sample of the pool; labels are the sample's id modulo K."""
    num_samples = is_seen.shape[1]
    labels = np.arange(num_samples) % NUM_CLASSES
    truth = labels if true_labels is None else true_labels
    confidence = is_seen * 0.5 + 0.25 if rlp is None else np.broadcast_to(rlp, is_seen.shape)
    frames = [
        pl.DataFrame(
            {
                "trial_id": [trial_id] * num_samples,
                "split": ["pool"] * num_samples,
                "sample_id": np.arange(num_samples, dtype=np.int32),
                "is_trained": is_seen[trial],
                "label": labels.astype(np.int32),
                "true_label": truth.astype(np.int32),
                "is_correct": learner(labels, is_seen[trial]) == labels,
                "class_confidence": confidence[trial].astype(np.float32),
                "rlp_confidence": confidence[trial].astype(np.float32),
            }
        )
        for trial, trial_id in enumerate(trials["trial_id"])
    ]
    return pl.concat(frames)


def write_sampled(folder: Path, trials: pl.DataFrame, samples: pl.DataFrame) -> Path:
    """Write a run directory with a file of samples a trial, and return it."""
    for name in ("trials", "samples"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    trials.write_parquet(folder / "trials" / "part.parquet")
    for (trial_id,), rows in samples.group_by("trial_id"):
        rows.write_parquet(folder / "samples" / f"{trial_id}.parquet")
    return folder


def found(folder: Path, trials: pl.DataFrame, samples: pl.DataFrame) -> Samples:
    """Return these samples as `find_samples` finds them in files."""
    samples_found = find_samples([write_sampled(folder, trials, samples)], trials, None)
    assert samples_found is not None
    return samples_found
