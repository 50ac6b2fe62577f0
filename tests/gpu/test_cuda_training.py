"""Only what a CPU cannot say; the same numbers are asked of the device as of the CPU."""

import dataclasses

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.batch import Batch
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import ENGINES, get_engine
from rlp_sweeps.training.engines.capture import no_synchronization
from rlp_sweeps.training.loop import GroupContext, train_group
from rlp_sweeps.training.member import Member

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]

CONFIG = TrialConfig(
    arm="full",
    lr=0.05,
    rlp_lambda=1.0,
    seed=0,
    dataset="synthetic:3,32,32,10,1024",
    backbone="wide_resnet",
    backbone_depth=10,
    backbone_width=1,
    augmentation="flip_crop",
    batch_size=64,
    num_epochs=2,
)


def build(device: str, **settings: object) -> Member:
    config = dataclasses.replace(CONFIG, **settings)
    target = torch.device(device)
    return Member(config, split_dataset(config, data_dir="", device=target), target)


def test_random_labels_order_and_split_are_those_of_the_cpu() -> None:
    on_cpu, on_gpu = build("cpu"), build("cuda")

    assert torch.equal(on_cpu.random_labels(1), on_gpu.random_labels(1).cpu())
    assert torch.equal(on_cpu.data.train_ids_N, on_gpu.data.train_ids_N.cpu())
    orders = [member.samples.order("order", 1).cpu() for member in (on_cpu, on_gpu)]
    assert torch.equal(*orders)


@pytest.mark.usefixtures("full_float32")
def test_one_epoch_follows_the_cpu_in_fp32() -> None:
    losses = [build(device).train_epoch(1) for device in ("cpu", "cuda")]

    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_bf16_follows_fp32_on_the_device() -> None:
    losses = [build("cuda", precision=precision).train_epoch(1) for precision in ("fp32", "bf16")]

    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_group_trains_and_names_its_device() -> None:
    context = GroupContext(group_id="g", data_dir="", device="cuda")

    (result,) = train_group([CONFIG], context=context, report=lambda p: ())

    assert result.trial["status"] == "completed"
    assert result.trial["device"] == torch.cuda.get_device_name()


def test_an_epoch_reads_nothing_back_from_the_device_before_its_end() -> None:
    member = build("cuda")
    member.train_epoch(1)
    batch = Batch(
        member.data.train_images_NCHW[:64],
        member.data.train_labels_N[:64],
        member.random_labels(1)[:, :64],
    )

    with no_synchronization():
        member._train_step(batch)


@pytest.mark.usefixtures("full_float32")
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "sequential"])
def test_an_engines_members_follow_the_sequential_ones(engine: str) -> None:
    members = [dataclasses.replace(CONFIG, lr=lr, seed=s) for lr in (0.02, 0.05) for s in (0, 1)]

    losses = []
    for name in ("sequential", engine):
        trained = get_engine(name)(members, data_dir="", device=torch.device("cuda"))
        outcomes = trained.advance(1, evaluates=True)
        assert not [o.error for o in outcomes.values() if o.error]
        losses.append([outcomes[config.trial_id].step_loss for config in members])

    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("engine", ["graph", "grouped_graph"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_captured_step_goes_on_after_members_were_cut_out(optimizer: str, engine: str) -> None:
    members = [dataclasses.replace(CONFIG, lr=lr, optimizer=optimizer) for lr in (1e-3, 2e-3, 3e-3)]
    whole, cut = (
        get_engine(engine)(members, data_dir="", device=torch.device("cuda")) for _ in range(2)
    )
    for trained in (whole, cut):
        trained.advance(1, evaluates=False)
    cut.drop(members[0].trial_id)

    left, expected = cut.advance(2, evaluates=True), whole.advance(2, evaluates=True)

    for trial_id, outcome in left.items():
        assert outcome.step_loss == pytest.approx(expected[trial_id].step_loss, rel=1e-3)
