"""What one can get wrong in a backbone or a data set of one's own: rule, value and way out."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from wrong_requests import Prepare, Row, check_row, folder, text

__all__ = ["folder"]  # a fixture

NET = """from torch import nn
from rlp_sweeps.training.backbones import Backbone

class End(nn.ReLU):
    pass

def build(*, image_shape, num_classes, depth, width, dropout):
    channels, height, side = image_shape
    hidden = nn.Linear(channels * height * side, 32)
    extractor = nn.Sequential(nn.Flatten(), hidden, End())
    head = nn.Linear(32, num_classes)
    return Backbone(extractor=extractor, classifier=head, attach_points=["2"])
"""

DATA = """import torch
from rlp_sweeps.training.datasets import ImageArrays

def load(data_dir):
    images = torch.arange(60 * 64).remainder(251).to(torch.uint8).reshape(60, 1, 8, 8)
    labels = torch.arange(60) % 3
    return ImageArrays(train_images_NCHW=images, train_labels_N=labels, test_images_NCHW=None,
                       test_labels_N=None, num_classes=3)
"""

RUN = "run quickstart --device cpu --set backbone=my_net."
LOAD = "run quickstart --device cpu --set batch_size=8 --set backbone=mlp --set dataset=my_data."
SHAPE = "images of shape (1, 8, 8)"


def net(old: str, new: str) -> Prepare:
    """Write a module with a backbone in which one text is replaced by another."""
    assert old in NET
    return text("my_net.py", NET.replace(old, new))


def end(forward: str) -> Prepare:
    """Write a module with a backbone whose extractor ends in another way."""
    return net("    pass", f"    def forward(self, x): {forward}")


def data(old: str, new: str) -> Prepare:
    """Write a module with a data set in which one text is replaced by another."""
    assert old in DATA
    return text("my_data.py", DATA.replace(old, new))


# fmt: off
BACKBONES = [
    Row("module", RUN + "build", "must be importable", "no module 'my_net'",
        "folder on PYTHONPATH"),
    Row("name of a function", RUN + "biuld", "must name a function", "no 'biuld'",
        "did you mean 'build'?", net("", "")),
    Row("file instead of a function", RUN + "py", "by its dotted path", "'my_net.py'",
        "write 'my_net.FUNCTION'", net("", "")),
    Row("no function", RUN + "build", "must name a function", "a value of type int",
        "it defines no function", text("my_net.py", "build = 3")),
    Row("module that it imports", RUN + "build", "must be importable", "my_net.py, line 1",
        "No module named 'absent'", text("my_net.py", "import absent")),
    Row("syntax", RUN + "build", "must be importable", "my_net.py, line 1", "SyntaxError",
        text("my_net.py", "def build(:")),
    Row("error at import", RUN + "build", "must be importable", "my_net.py, line 1",
        "ZeroDivisionError", text("my_net.py", "1 / 0")),
    Row("arguments", RUN + "build", "must take image_shape", "'dropout'",
        "write `def build(*, image_shape",
        net(", dropout):", "):")),
    Row("positional arguments", RUN + "build", "must take image_shape", "'image_shape'",
        "write `def build(*, image_shape",
        net("*, image_shape, num_classes, depth, width, dropout", "num_classes")),
    Row("error in a builder", RUN + "build", SHAPE, "my_net.py, line 8", "RuntimeError: too small.",
        net("    channels,", "    raise RuntimeError('too small')\n    channels,")),
    Row("nothing returned", RUN + "build", "must return a Backbone", "returned None",
        "wrap extractor and classifier", net("return Backbone", "Backbone")),
    Row("a module returned", RUN + "build", "must return a Backbone", "returned a Linear",
        "wrap extractor and classifier", net("return Backbone", "return head\n    Backbone")),
    Row("extractor's width", RUN + "build", "must return features of shape (2, 16)", "(2, 32)",
        "`in_features`", net("nn.Linear(32, num", "nn.Linear(16, num")),
    Row("number of classes", RUN + "build", "scores of shape (2, 10)", "(2, 7)", "`num_classes`",
        net("num_classes)\n    return", "7)\n    return")),
    Row("images of another size", RUN + "build", SHAPE, "2x64 and 784x32", "mend its layers",
        net("channels * height * side", "784")),
    Row("error in forward", RUN + "build", SHAPE, "KeyError: 'z'", "mend its layers",
        end("return {}['z']")),
    Row("several outputs", RUN + "build", "must return features", "a tuple", "`in_features`",
        end("return x, x")),
    Row("maps for vectors", RUN + "build", "must return features", "(2, 32, 1, 1)", "`in_features`",
        end("return x[:, :, None, None]")),
    Row("attach point that is none", RUN + "build", "must name submodules", "['fc']",
        "['0', '1', '2']", net('["2"]', '["fc"]')),
    Row("attach points as a text", RUN + "build", "must be a list of names", "'2'",
        "`attach_points`", net('["2"]', '"2"')),
    Row("classifier of two layers", RUN + "build", "must be one linear layer", "a Sequential",
        "`classifier`", net("head = nn.Linear(32, num_classes)",
                            "head = nn.Sequential(nn.Linear(32, num_classes))")),
    Row("extractor that is a function", RUN + "build", "must be a torch module", "a function",
        "`extractor`", net("extractor=extractor", "extractor=lambda x: x")),
]

DATA_SETS = [
    Row("data module", LOAD + "load", "must be importable", "no module 'my_data'",
        "folder on PYTHONPATH"),
    Row("name of a loader", LOAD + "laod", "must name a function", "no 'laod'",
        "did you mean 'load'?", data("", "")),
    Row("error in a loader", LOAD + "load", "called with the data folder", "my_data.py, line 5",
        "FileNotFoundError: no x.npy.",
        data("    images =", "    raise FileNotFoundError('no x.npy')\n    images =")),
    Row("loader without a folder", LOAD + "load", "called with the data folder", "my_data.load",
        "takes 0 positional arguments", data("load(data_dir)", "load()")),
    Row("no data", LOAD + "load", "must return an ImageArrays", "None", "`return ImageArrays(…)`",
        data("return ", "")),
    Row("a dict of data", LOAD + "load", "must return an ImageArrays", "a dict",
        "`return ImageArrays(…)`", data("return ImageArrays", "return dict")),
    Row("field left out", LOAD + "load", "must be given", "'num_classes'",
        "`ImageArrays(…, NAME=…)`", data(", num_classes=3", "")),
    Row("pixels in 0 … 1", LOAD + "load", "`train_images_NCHW` must be a torch.uint8 tensor",
        "torch.float32", ".round().to(torch.uint8)`", data("torch.uint8", "torch.float32")),
    Row("arrays of NumPy", LOAD + "load", "`train_images_NCHW` must be a torch.uint8 tensor",
        "ndarray of uint8", "`torch.as_tensor(…)`", data("60, 1, 8, 8)", "60, 1, 8, 8).numpy()")),
    Row("labels as a list", LOAD + "load", "`train_labels_N` must be a torch.int64 tensor",
        "a list", "`torch.as_tensor(…)`", data("torch.arange(60) % 3", "[0, 1, 2] * 20")),
    Row("labels of 32 bits", LOAD + "load", "`train_labels_N` must be a torch.int64 tensor",
        "torch.int32", "`.to(torch.int64)`", data("% 3", "% 3\n    labels = labels.int()")),
    Row("labels one-hot", LOAD + "load", "`train_labels_N` must be a torch.int64 tensor of 1",
        "(60, 3)", "class indices", data("% 3", "% 3\n    labels = torch.eye(3).long()[labels]")),
    Row("images without channels", LOAD + "load", "of 4 dimension(s)", "(60, 8, 8)",
        "[N, C, H, W]", data("60, 1, 8, 8", "60, 8, 8")),
    Row("more images than labels", LOAD + "load", "as many train images as labels", "(59,)",
        "(60, 1, 8, 8)", data("% 3", "% 3\n    labels = labels[1:]")),
    Row("classes from 1", LOAD + "load", "`0 <= label < num_classes`", "from 1 to 3",
        "count classes from 0", data("% 3", "% 3 + 1")),
    Row("one class", LOAD + "load", "`2 <= num_classes`", "num_classes=1", "a whole number",
        data("num_classes=3", "num_classes=1")),
    Row("half a class", LOAD + "load", "`2 <= num_classes`", "num_classes=2.5", "a whole number",
        data("num_classes=3", "num_classes=2.5")),
    Row("test images alone", LOAD + "load", "both test images and test labels", "no test labels",
        "None for both", data("test_images_NCHW=None", "test_images_NCHW=images")),
    Row("blank images", LOAD + "load", "must vary", "[0.0]", "drop the constant channels",
        data("labels =", "images[:] = 7\n    labels =")),
    Row("more in a batch than samples", LOAD.replace("=8", "=99") + "load", "`batch_size <= number",
        "batch_size=99", "lower batch_size", data("", "")),
]
# fmt: on


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Let every row import its own module."""
    yield
    for name in ("my_net", "my_data"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name) for row in (*BACKBONES, *DATA_SETS)]
)
def test_wrong_code_of_ones_own_gets_rule_value_and_way_out(
    row: Row, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_row(row, folder, capfd)
