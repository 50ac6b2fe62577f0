"""What a researcher who has just cloned the project can get wrong: names, and a first study.

Each row holds what the sentence must say of the rule, the value and the way out. Values, files and
what comes after a sweep stand in `test_first_hours_end.py`, the rest in `test_bad_input.py`.
"""

from pathlib import Path

import pytest
from wrong_requests import Prepare, Row, check_row, finished, folder, study, sweep, text

__all__ = ["folder"]  # a fixture

RUN = "run quickstart --device cpu "
PLAN = "plan study.py --device cpu"
LR = "ChoiceAxis(choices=(0.1,))"
LOG = "LogAxis(low={}, high={}, num_points={})"
SEARCH = "num_seeds=1, search=Search({})"


def axis(new: str) -> Prepare:
    """Write a study whose learning rates are another axis."""
    return study(LR, new)


# fmt: off
NAMES = [
    Row("recipe", "run quickstrat", "no recipe", "'quickstrat'", "did you mean 'quickstart'?"),
    Row("recipe in capitals", "plan QuickStart", "no recipe", "'QuickStart'",
        "did you mean 'quickstart'?"),
    Row("recipe with hyphens", "plan digits-optuna", "named by a recipe", "'digits-optuna'",
        "'digits_optuna'?"),
    Row("recipe like no other", "plan zebra", "no recipe", "'zebra'", "`rlp-sweeps spaces` lists"),
    Row("no recipe", "plan ''", "named by a recipe, a dotted module or a path", "''",
        "`rlp-sweeps spaces`"),
    Row("dotted module", "plan my.study", "no module", "'my.study'",
        "give a file, as in `my/study.py`"),
    Row("study without .py", "plan study", "no recipe", "'study'", "did you mean 'study.py'?",
        study()),
    Row("path without .py", "plan ./study", "must end in .py", "'study'",
        "did you mean 'study.py'?", study()),
    Row("file that is not there", "run stduy.py", "the file does not exist", "'stduy.py'",
        "did you mean 'study.py'?", study()),
    Row("run directory as recipe", "run sweep", "no recipe", "'sweep'", "`rlp-sweeps resume sweep`",
        sweep),
    Row("path of a run directory", "run ./sweep", "no recipe", "'sweep'",
        "`rlp-sweeps resume sweep`", sweep),
    Row("size", "plan rising_memorization:papr", "has no size", "'papr'", "did you mean 'paper'?"),
    Row("size that a study has not", "plan quickstart:big", "has no size", "'big'", "['small']"),
    Row("command", "anlyze done", "no such command", "'anlyze'", "Did you mean 'analyze'?"),
    Row("command without hyphen", "followup done", "no such command", "'followup'",
        "Did you mean 'follow-up'?"),
    Row("option", RUN + "--outptu x", "no such option", "'--outptu'", "did you mean '--output'?"),
    Row("setting as option", RUN + "--lr 0.1", "no such option", "'--lr'", "`--set lr=0.1`"),
    Row("setting", RUN + "--set num_epoch=3", "unknown setting", "'num_epoch'",
        "did you mean 'num_epochs'?"),
    Row("setting of other tools", RUN + "--set learning_rate=1", "unknown setting",
        "'learning_rate'", "did you mean 'lr'?"),
    Row("setting like no other", RUN + "--set zzz=1", "unknown setting", "'zzz'",
        "`rlp-sweeps run --help` lists"),
    Row("seeds as setting", RUN + "--set num_seeds=3", "unknown setting", "'num_seeds'",
        "`--num-seeds N`"),
    Row("device as setting", RUN + "--set device=cuda", "unknown setting", "'device'",
        "`--device auto|cpu|cuda`"),
    Row("arm as setting", RUN + "--set arm=full", "cannot be set", "'arm'",
        "choose `arms` in the recipe"),
    Row("data set in capitals", RUN + "--set dataset=Digits", "unknown data set", "'Digits'",
        "did you mean 'digits'?"),
    Row("data set with hyphen", RUN + "--set dataset=CIFAR-10", "unknown data set", "'CIFAR-10'",
        "did you mean 'cifar10'?"),
    Row("data set like no other", RUN + "--set dataset=zebra", "unknown data set", "'zebra'",
        "['digits', 'fashion_mnist'"),
    Row("generated data set", RUN + "--set dataset=synthetic:1,2", "`synthetic:C,H,W,K,N`",
        "'synthetic:1,2'", "'synthetic:3,32,32,10,2048'"),
    Row("backbone", RUN + "--set backbone=ResNet50", "unknown backbone", "'ResNet50'",
        "did you mean 'resnet18'?"),
    Row("augmentation", RUN + "--set augmentation=flips", "unknown augmentation", "'flips'",
        "did you mean 'flip'?"),
    Row("optimizer", RUN + "--set optimizer=adam", "optimizer in", "'adam'", "('sgd', 'adamw')"),
    Row("engine", RUN + "--engine group", "unknown engine", "'group'", "did you mean 'grouped'"),
    Row("attach point", RUN + "--set attach_points=conv3", "no attach point", "['conv3']",
        "it has ['conv1', 'conv2', 'linear']"),
    Row("probe", RUN + "--probe knm", "unknown probe", "['knm']", "did you mean 'knn'?"),
    Row("probe of a recipe", PLAN, "unknown probe", "['knm']", "did you mean 'knn'?",
        study("num_seeds=1", "num_seeds=1, probes=('knm',)")),
    Row("recipe to begin with", "new mine --from quickstrt", "must name a recipe", "'quickstrt'",
        "did you mean 'quickstart'?"),
    Row("outcome", "analyze done --outcome test_acc", "unknown outcome", "['test_acc']",
        "did you mean 'test_accuracy'?", finished),
    Row("exported table", "export done --table trails", "no table", "['trails']",
        "did you mean 'trials'?", finished),
    Row("arm to match", "follow-up done --matched-to ful", "no control can be matched", "['ful']",
        "did you mean 'full'?", finished),
    Row("run directory", "status donee", "must exist", "donee", "did you mean 'done'?", finished),
    Row("run directory to read", "query donee 'SELECT 1'", "must exist", "donee",
        "did you mean 'done'?", finished),
]

STUDIES = [
    Row("syntax error", PLAN, "SyntaxError", "study.py, line 1", "was never closed",
        text("study.py", "SPACE = (")),
    Row("import error", PLAN, "ModuleNotFoundError", "study.py, line 1", "'absent_library'",
        text("study.py", "import absent_library")),
    Row("error at import", PLAN, "ZeroDivisionError", "study.py, line 2", "division by zero",
        text("study.py", "x = 0\n1 / x")),
    Row("exit at import", PLAN, "SystemExit", "study.py, line 1", ": 3.",
        text("study.py", "raise SystemExit(3)")),
    Row("error of a thousand words", PLAN, "ValueError", "study.py, line 1", "…",
        text("study.py", "raise ValueError('many words ' * 1000)")),
    Row("no SPACE", PLAN, "must define `SPACE = SearchSpace(…)`", "'study.py'",
        "`rlp-sweeps new my_study`", text("study.py", "space = 1")),
    Row("SPACE that is a dict", PLAN, "`SPACE` must be a SearchSpace", "a dict",
        "`SPACE = SearchSpace(…)`", text("study.py", "SPACE = {}")),
    Row("SPACE that is the class", PLAN, "must be a SearchSpace", "the class itself",
        "`SPACE = SearchSpace(…)`",
        text("study.py", "from rlp_sweeps.spaces import SearchSpace as SPACE")),
    Row("misspelled field", PLAN, "`SearchSpace` takes no", "'seeds'", "did you mean 'num_seeds'?",
        study("num_seeds", "seeds")),
    Row("field left out", PLAN, "`SearchSpace` must be given", "'num_seeds'",
        "`SearchSpace(…, NAME=…)`", study("num_seeds=1,", "")),
    Row("axis by position", PLAN, "takes its values by name", "`ChoiceAxis`",
        "`ChoiceAxis(choices=…)`", axis("ChoiceAxis([0.1])")),
    Row("axis that is a list", PLAN, "must be a LogAxis, LinearAxis or ChoiceAxis", "[0.1, 0.2]",
        "axis 'lr'", axis("[0.1, 0.2]")),
    Row("axis of one number", PLAN, "must be a sequence of values", "not 0.1", "for example (0.1,)",
        axis("ChoiceAxis(choices=0.1)")),
    Row("axis of lists", PLAN, "must be numbers, texts, booleans or None", "[0.1]",
        "choices=([0.1],)", axis("ChoiceAxis(choices=([0.1],))")),
    Row("axis with doubles", PLAN, "no two values of an axis may be alike", "(0.1, 0.1)",
        "leave one out", axis("ChoiceAxis(choices=(0.1, 0.1))")),
    Row("axis with NaN", PLAN, "`0 < lr < inf`", "lr=nan", "study.py, line 3",
        axis("ChoiceAxis(choices=(float('nan'),))")),
    Row("log axis through 0", PLAN, "`0 < low <= high`", "low=0", "set `control=0.0`",
        axis(LOG.format(0, 1, 3))),
    Row("log axis upside down", PLAN, "`0 < low <= high`", "low=1, high=0.1", "study.py, line 4",
        axis(LOG.format(1, 0.1, 3))),
    Row("axis without end", PLAN, "`0 < low <= high`", "high=inf", "must be finite",
        axis(LOG.format(1, "float('inf')", 3))),
    Row("axis of half a point", PLAN, "must be a whole number", "num_points=2.5",
        "`num_points` of an axis", axis(LOG.format(0.1, 1, 2.5))),
    Row("axis of no point", PLAN, "`1 <= num_points`", "num_points=0", "study.py, line 4",
        axis(LOG.format(0.1, 1, 0))),
    Row("axis that is no setting", PLAN, "unknown setting", "['lambda']",
        "did you mean 'rlp_lambda'?", study("rlp_lambda", "lambda")),
    Row("fixed that is no setting", PLAN, "unknown setting", "['epochs']",
        "did you mean 'num_epochs'?", study("num_epochs", "epochs")),
    Row("data folder in fixed", PLAN, "unknown setting", "['data_dir']", "`--set data_dir=FOLDER`",
        study('"num_epochs": 1', '"data_dir": "x"')),
    Row("half an epoch", PLAN, "must be a whole number", "num_epochs=1.5", "`num_epochs`",
        study('"num_epochs": 1', '"num_epochs": 1.5')),
    Row("fixed and varied", PLAN, "either varies or is fixed", "['lr']", "`axes` and in `fixed`",
        study('"num_epochs": 1', '"lr": 1.0')),
    Row("negative λ", PLAN, "`0 <= rlp_lambda < inf`", "rlp_lambda=-1.0", "study.py, line 3",
        study("choices=(1,)", "choices=(-1,)")),
    Row("λ of 0 on the axis", PLAN, "`rlp_lambda > 0`", "[0, 1]", "leave 0 out",
        study("choices=(1,)", "choices=(0, 1)")),
    Row("λ without control", PLAN, "control arm's value", "control=None", "`control=0.0`",
        study(", control=0.0", "")),
    Row("misspelled arm", PLAN, "unknown arm", "'ful'", "did you mean 'full'?",
        study("num_seeds=1", "num_seeds=1, arms=('control', 'ful')")),
    Row("arms as a text", PLAN, "must be a sequence", "not 'control'", "for example ('control',)",
        study("num_seeds=1", "num_seeds=1, arms='control'")),
    Row("arms without control", PLAN, "`'control' in arms`", "('full',)",
        "every effect is measured against it", study("num_seeds=1", "num_seeds=1, arms=('full',)")),
    Row("arm of a follow-up", PLAN, "must be known before", "'rescaled'",
        "`rlp-sweeps follow-up DIR` adds it",
        study("num_seeds=1", "num_seeds=1, arms=('control', 'rescaled')")),
    Row("seeds as a list", PLAN, "`1 <= num_seeds`", "num_seeds=(1, 1)", "study.py, line 3",
        study("num_seeds=1", "num_seeds=(1, 1)")),
    Row("search as a dict", PLAN, "must be a Search", "{'num_points': 3}", "Search(num_points=60)",
        study("num_seeds=1", "num_seeds=1, search={'num_points': 3}")),
    Row("search of no point", PLAN, "`1 <= num_points`", "num_points=0", "study.py, line 5",
        study("num_seeds=1", SEARCH.format("num_points=0"))),
    Row("search of half a point", PLAN, "must be a whole number", "num_points=3.5",
        "`num_points` of a search", study("num_seeds=1", SEARCH.format("num_points=3.5"))),
    Row("search by a test metric", PLAN, "one or two objectives", "('test_accuracy',)",
        "'val_accuracy'",
        study("num_seeds=1", SEARCH.format("num_points=3, objectives=('test_accuracy',)"))),
    Row("fixed that is None", PLAN, "must be a dict of settings", "fixed=None",
        '{"num_epochs": 30}', study('fixed={"num', 'fixed=None and {"num')),
]
# fmt: on


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in (*NAMES, *STUDIES)])
def test_a_name_or_study_that_is_wrong_gets_rule_value_and_way_out(
    row: Row, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_row(row, folder, capfd)
