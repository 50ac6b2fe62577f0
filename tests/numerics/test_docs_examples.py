"""The network, the data set and the study that the guide shows: they train, and learn."""

from pathlib import Path

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.recipes import load_space
from rlp_sweeps.training.loop import GroupContext, train_group

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def test_example_network_learns_the_example_data(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    space = load_space(str(EXAMPLES / "own_study.py")).space
    configs = [TrialConfig.from_dict(trial) for trial in space.grid() if trial["lr"] == 0.1][:2]
    context = GroupContext(group_id="examples", data_dir="")

    results = train_group(configs, context=context, report=lambda progress: ())

    assert {result.trial["arm"] for result in results} == {"control", "full"}
    assert {result.trial["status"] for result in results} == {"completed"}
    assert min(result.trial["test_accuracy"] for result in results) > 0.6
