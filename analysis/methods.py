"""The methods of a sweep as a paragraph with references, ready to paste into a paper.

Everything that it says is read from the trials and the manifests: what they do not tell is left
out, never assumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.result import Analysis
from analysis.wording import format_short, format_value, quantity_of

MAX_LISTED = 8
"""Values that are listed; of more, their number and range."""

_PACKAGES = {"torch": "PyTorch", "ray": "Ray", "optuna": "Optuna", "polars": "polars"}
_BACKBONES = {
    "mlp": "a multilayer perceptron",
    "small_cnn": "a small convolutional network",
    "wide_resnet": "a wide residual network",
    "resnet18": "a ResNet-18",
    "vgg16": "a VGG-16",
    "vgg16_bn": "a VGG-16 with batch normalization",
    "vit": "a vision transformer",
}
_HEADS = {
    "nested_joint": "nested joint",
    "nested_per_class": "nested per-class",
    "single": "single",
    "single_output": "single-output",
}
_DIVERGED = {
    "chance": "scored at chance",
    "last": "scored at their last finite evaluation",
    "exclude": "were left out",
}

REFERENCES = {
    "becker2024learned": """@misc{becker2024learned,
  title = {Learned Random Label Predictions as a Neural Network Complexity Metric},
  author = {Becker, Marlon and Risse, Benjamin},
  year = {2024},
  eprint = {2411.19640},
  archivePrefix = {arXiv}
}""",
    "liaw2018tune": """@misc{liaw2018tune,
  title = {Tune: A Research Platform for Distributed Model Selection and Training},
  author = {Liaw, Richard and Liang, Eric and Nishihara, Robert and Moritz, Philipp and
            Gonzalez, Joseph E. and Stoica, Ion},
  year = {2018},
  eprint = {1807.05118},
  archivePrefix = {arXiv}
}""",
    "akiba2019optuna": """@inproceedings{akiba2019optuna,
  title = {Optuna: A Next-generation Hyperparameter Optimization Framework},
  author = {Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and
            Koyama, Masanori},
  booktitle = {Proceedings of the 25th ACM SIGKDD International Conference on Knowledge Discovery
               and Data Mining},
  year = {2019}
}""",
    "holm1979simple": """@article{holm1979simple,
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  author = {Holm, Sture},
  journal = {Scandinavian Journal of Statistics},
  volume = {6},
  pages = {65--70},
  year = {1979}
}""",
}
"""Works that a methods paragraph may cite, in BibTeX, by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Methods:
    """How a sweep was done.

    Attributes:
        text: One paragraph; works are cited by their keys in square brackets.
        bibtex: The cited works.
    """

    text: str
    bibtex: str


def write_methods(analysis: Analysis) -> Methods:
    """Return the methods of an analyzed sweep."""
    sentences = [
        _networks(analysis.trials),
        _optimization(analysis.trials),
        _heads(analysis.trials),
        _design(analysis),
        _inference(analysis),
        _software(analysis),
    ]
    text = " ".join(sentence for sentence in sentences if sentence)
    cited = [entry for key, entry in REFERENCES.items() if f"[{key}]" in text]
    return Methods(text=text, bibtex="\n\n".join(cited))


def _networks(trials: pl.DataFrame) -> str:
    backbone = _only(trials, "backbone")
    network = (
        "networks" if backbone is None else _BACKBONES.get(backbone, f"the network {backbone}")
    )
    sizes = [
        text.format(format_value(value))
        for name, text in (("backbone_depth", "depth {}"), ("backbone_width", "width {}"))
        if (value := _only(trials, name)) is not None
    ]
    parameters = _only(trials, "num_parameters")
    sizes += [f"{parameters:,} parameters"] if parameters is not None else []
    what = network + (f" ({', '.join(sizes)})" if sizes else "")
    data = _listed(trials, "dataset")
    samples, classes = _only(trials, "num_train_samples"), _only(trials, "num_classes")
    size = [f"{samples:,} training samples"] if samples is not None else []
    size += [f"{classes} classes"] if classes is not None else []
    shown = f" ({', '.join(size)})" if size else ""
    where = f" on {data}{shown}" if data else ""
    return f"We trained {what}{where} in {len(trials):,} trials."


def _optimization(trials: pl.DataFrame) -> str:
    optimizer = _only(trials, "optimizer")
    name = {"sgd": "SGD", "adamw": "AdamW"}.get(optimizer, optimizer)
    details = [
        text.format(_listed(trials, column))
        for column, text in (
            ("momentum", "momentum {}"),
            ("weight_decay", "weight decay {}"),
            ("batch_size", "batch size {}"),
            ("label_smoothing", "label smoothing {}"),
            ("schedule", "{} schedule"),
            ("num_epochs", "{} epochs"),
            ("precision", "{}"),
        )
        if column in trials.columns
        if not (column == "momentum" and optimizer != "sgd")
        if not (column in {"weight_decay", "label_smoothing"} and _only(trials, column) == 0)
    ]
    rate = f"he learning rate was {_listed(trials, 'lr')}."
    if not (name or details):
        return f"T{rate}"
    by = ", ".join([f"The optimizer was {name}", *details] if name else details)
    return f"{by[0].upper()}{by[1:]}; t{rate}"


def _heads(trials: pl.DataFrame) -> str:
    head = _only(trials, "head")
    kind = f"A {_HEADS.get(head, head)}" if head else "A"
    labels = _listed(trials, "num_random_labels")
    regularized = trials.filter(pl.col("arm") != "control")
    strength = f" of strength λ = {_listed(regularized, 'rlp_lambda')}" if len(regularized) else ""
    said = (
        f"{kind} random-label-prediction head [becker2024learned] was trained beside each network "
        f"to predict a fixed random label of each training sample (R = {labels}); memorization is "
        "its accuracy on these, rescaled so that chance is 0 and perfect recall 1."
    )
    if not strength:
        return said
    is_split = {"class_term", "uniform_term"} <= set(trials["arm"])
    split = (
        " was split exactly into a class term, which acts like a second classification loss, and "
        "a uniform term, which unlearns random labels."
    )
    acts = " acted on the network's extractor."
    return f"{said} The regularizer{strength}{split if is_split else acts}"


def _design(analysis: Analysis) -> str:
    arms = analysis.counts["arm"].to_list()
    num_seeds = analysis.trials["seed"].n_unique()
    search = "point" in analysis.trials.columns and analysis.trials["point"].null_count() < len(
        analysis.trials
    )
    points = "Points sampled by Optuna [akiba2019optuna] were" if search else "Each cell was"
    seeds = f"{num_seeds} seed{'' if num_seeds == 1 else 's'}"
    if len(arms) == 1:
        return f"{points} trained with {seeds}."
    return (
        f"{points} trained under the arms {', '.join(arms)}, with {seeds}; arms of one seed share "
        "initialization, order of samples, split and random labels."
    )


def _inference(analysis: Analysis) -> str:
    total = analysis.num_trials
    lost = [
        f"{total[status]:,} of {total['total']:,} trials {words}"
        for status, words in (
            ("diverged", f"diverged and {_DIVERGED[analysis.diverged]}"),
            ("failed", "failed and were left out"),
        )
        if total[status]
    ]
    if analysis.effects_pooled.is_empty():
        return f"{'; '.join(lost).capitalize()}." if lost else ""
    return (
        f"Effects on {quantity_of(analysis.outcome).noun} are differences between arms within "
        "seed, averaged over cells, with two-sided 95 % t intervals over seeds; p values were "
        f"adjusted by Holm's method [holm1979simple].{' ' if lost else ''}"
        f"{'; '.join(lost)}{'.' if lost else ''}"
    )


def _software(analysis: Analysis) -> str:
    versions = [
        f"{name} {analysis.packages[package]}"
        for package, name in _PACKAGES.items()
        if package in analysis.packages
    ]
    if not versions:
        return ""
    code = _only(analysis.trials, "code_version")
    by = f"rlp-sweeps {code}" if code else "rlp-sweeps"
    return f"Trials were scheduled by Ray Tune [liaw2018tune] through {by} ({', '.join(versions)})."


def packages_of(manifests: Sequence[Mapping[str, Any] | None]) -> dict[str, str]:
    """Return the package versions on which all manifests agree; what is no version is left out."""
    found = [m["packages"] for m in manifests if m and isinstance(m.get("packages"), dict)]
    if not found or len(found) < len(manifests):
        return {}
    return {
        name: version
        for name, version in found[0].items()
        if isinstance(version, str) and all(other.get(name) == version for other in found)
    }


def _only(trials: pl.DataFrame, name: str) -> Any:
    """Return the value that all trials share; None where there is none."""
    if name not in trials.columns:
        return None
    values = trials[name].drop_nulls().unique().to_list()
    return values[0] if len(values) == 1 and trials[name].null_count() == 0 else None


def _listed(trials: pl.DataFrame, name: str) -> str:
    if name not in trials.columns:
        return ""
    values = trials[name].drop_nulls().unique().sort().to_list()
    if len(values) > MAX_LISTED:
        return f"between {format_short(values[0])} and {format_short(values[-1])}"
    texts = [format_short(value) for value in values]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)
