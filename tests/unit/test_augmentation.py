"""Each augmentation against its definition, torchvision where it has the same one."""

import pytest
import torch
import torchvision.transforms.functional as reference
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from rlp_sweeps.errors import ConfigError
from rlp_sweeps.training.augmentation import Chain, Crop, Cutout, Flip, build_augmentation
from rlp_sweeps.training.colors import ColorJitter, Grayscale, to_gray, turn_hue
from rlp_sweeps.training.resized_crop import ResizedCrop

NO_CHANGE = {
    "jitter": torch.tensor([True]),
    "blend_factors": torch.ones(1, 3),
    "hue_turns": torch.zeros(1),
    "jitter_position": torch.arange(4).unsqueeze(0),
}


def make_images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def make_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_flip_mirrors_where_drawn_and_twice_is_the_identity() -> None:
    images_NCHW = make_images(2, 3, 4, 5)
    draws = {"flip": torch.tensor([True, False])}

    once_NCHW = Flip().apply(images_NCHW, draws)

    assert torch.equal(once_NCHW[0], reference.hflip(images_NCHW[0]))
    assert torch.equal(once_NCHW[1], images_NCHW[1])
    assert torch.equal(Flip().apply(once_NCHW, draws), images_NCHW)


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (28, 4), (8, 1), (3, 1)])
def test_crop_equals_torchvisions_at_planted_places(side: int, padding: int) -> None:
    images_NCHW = make_images(3, 2, side, side)
    top_N, left_N = torch.tensor([0, padding, 2 * padding]), torch.tensor([2 * padding, padding, 1])

    cropped_NCHW = Crop().apply(images_NCHW, {"crop_top": top_N, "crop_left": left_N})

    padded_NCHW = reference.pad(images_NCHW, [padding])
    for i in range(3):
        expected = reference.crop(padded_NCHW[i], int(top_N[i]), int(left_N[i]), side, side)
        assert torch.equal(cropped_NCHW[i], expected)
    assert torch.equal(cropped_NCHW[1], images_NCHW[1])


def test_crop_draws_every_place_of_the_padded_image() -> None:
    draws = Crop().draw(2000, (3, 32, 16), make_generator())

    assert draws["crop_top"].unique().tolist() == list(range(9))
    assert draws["crop_left"].unique().tolist() == list(range(5))


def test_cutout_blackens_a_square_that_is_cut_at_the_edge() -> None:
    images_NCHW = torch.full((2, 1, 32, 32), 7, dtype=torch.uint8)
    draws = {"cutout_row": torch.tensor([16, 0]), "cutout_column": torch.tensor([10, 31])}

    cut_NCHW = Cutout().apply(images_NCHW, draws)

    expected = images_NCHW.clone()
    expected[0, :, 12:20, 6:14] = 0
    expected[1, :, :4, 27:] = 0
    assert torch.equal(cut_NCHW, expected)


@pytest.mark.parametrize("box", [(0, 0, 32, 32), (3, 5, 10, 8), (20, 0, 1, 32), (31, 31, 1, 1)])
def test_resized_crop_equals_torchvisions_at_planted_boxes(box: tuple[int, ...]) -> None:
    images_NCHW = make_images(1, 3, 32, 32)

    resized_NCHW = ResizedCrop().apply(images_NCHW, {"box": torch.tensor([box])})

    top, left, height, width = box
    expected = reference.resized_crop(
        images_NCHW.float(), top, left, height, width, [32, 32], antialias=False
    )
    torch.testing.assert_close(resized_NCHW, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 16, 64), (3, 64, 16)])
def test_resized_crop_draws_boxes_inside_the_image(shape: tuple[int, int, int]) -> None:
    box_N4 = ResizedCrop().draw(4000, shape, make_generator())["box"]

    top_N, left_N, height_N, width_N = box_N4.unbind(1)
    assert bool((box_N4[:, :2] >= 0).all() and (box_N4[:, 2:] >= 1).all())
    assert bool((top_N + height_N <= shape[1]).all() and (left_N + width_N <= shape[2]).all())


def test_resized_crop_draws_areas_and_ratios_as_torchvision_does() -> None:
    box_N4 = ResizedCrop().draw(4000, (3, 64, 64), make_generator())["box"].double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image, rules = torch.empty(3, 64, 64), {"scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3]}
        boxes = [RandomResizedCrop.get_params(image, **rules) for _ in range(4000)]
    expected_N4 = torch.tensor(boxes).double()

    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]).double()
    for of in (lambda b: b[:, 2] * b[:, 3] / 64**2, lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 1]):
        got, expected = of(box_N4).quantile(levels), of(expected_N4).quantile(levels)
        torch.testing.assert_close(got, expected, atol=0.03, rtol=0.1)


def test_resized_crop_takes_the_largest_centred_box_when_no_attempt_fits() -> None:
    box_N4 = ResizedCrop().draw(500, (3, 4, 400), make_generator())["box"]

    fallback = (box_N4 == torch.tensor([0, 198, 4, 5])).all(1)
    assert float(fallback.float().mean()) > 0.5


@pytest.mark.parametrize("turns", [-0.2, -0.05, 0.0, 0.13, 0.2, 0.5])
def test_turn_hue_equals_torchvisions(turns: float) -> None:
    images_NCHW = make_images(4, 3, 8, 8).float()
    images_NCHW[0, :, 0] = images_NCHW[0, :1, 0]  # gray pixels

    turned_NCHW = turn_hue(images_NCHW, torch.full((4,), turns))

    expected = reference.adjust_hue(images_NCHW / 255, turns) * 255
    torch.testing.assert_close(turned_NCHW, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("index", "name"), list(enumerate(["brightness", "contrast", "saturation"]))
)
@pytest.mark.parametrize("factor", [0.2, 1.7])
def test_each_blend_equals_torchvisions(
    channels: int, index: int, name: str, factor: float
) -> None:
    images_NCHW = make_images(1, channels, 8, 8)
    factors_N3 = torch.ones(1, 3)
    factors_N3[0, index] = factor

    jittered_NCHW = ColorJitter().apply(images_NCHW, {**NO_CHANGE, "blend_factors": factors_N3})

    adjust = getattr(reference, f"adjust_{name}")
    expected = adjust(images_NCHW / 255, factor) * 255
    torch.testing.assert_close(jittered_NCHW, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_color_jitter_applies_its_changes_in_the_drawn_order(order: tuple[int, ...]) -> None:
    images_NCHW = make_images(1, 3, 8, 8)
    factors, turns = (1.4, 0.5, 1.6), -0.15
    draws = {
        "jitter": torch.tensor([True]),
        "blend_factors": torch.tensor([factors]),
        "hue_turns": torch.tensor([turns]),
        "jitter_position": torch.tensor([order]).argsort(dim=1),
    }

    jittered_NCHW = ColorJitter().apply(images_NCHW, draws)

    expected = images_NCHW / 255
    names = ("brightness", "contrast", "saturation", "hue")
    for change in order:
        expected = getattr(reference, f"adjust_{names[change]}")(
            expected, (*factors, turns)[change]
        )
    torch.testing.assert_close(jittered_NCHW, expected * 255, atol=0.02, rtol=0)


def test_color_jitter_leaves_samples_alone_that_it_does_not_draw() -> None:
    images_NCHW = make_images(64, 3, 8, 8)
    draws = ColorJitter().draw(64, (3, 8, 8), make_generator())

    jittered_NCHW = ColorJitter().apply(images_NCHW, draws)

    is_same_N = (jittered_NCHW == images_NCHW).flatten(1).all(1)
    assert torch.equal(is_same_N, ~draws["jitter"])
    assert 0.6 < float(draws["jitter"].float().mean()) < 0.95


def test_color_jitter_draws_the_stated_ranges() -> None:
    draws = ColorJitter().draw(4000, (3, 8, 8), make_generator())

    assert 0.2 <= float(draws["blend_factors"].min()) < 0.21
    assert 1.79 < float(draws["blend_factors"].max()) <= 1.8
    assert 0.19 < float(draws["hue_turns"].abs().max()) <= 0.2
    assert len(draws["jitter_position"].unique(dim=0)) == 24


def test_grayscale_replaces_colour_by_luma_where_drawn() -> None:
    images_NCHW = make_images(2, 3, 4, 4)

    gray_NCHW = Grayscale().apply(images_NCHW, {"gray": torch.tensor([True, False])})

    expected = reference.rgb_to_grayscale(images_NCHW[:1].float(), num_output_channels=3)
    torch.testing.assert_close(gray_NCHW[:1], expected)
    assert torch.equal(gray_NCHW[1], images_NCHW[1].float())
    assert torch.equal(to_gray(images_NCHW[:, :1]), images_NCHW[:, :1])


def test_chain_applies_its_steps_in_order() -> None:
    images_NCHW = make_images(6, 3, 8, 8)
    chain = Chain([Flip(), Crop()])
    draws = chain.draw(6, (3, 8, 8), make_generator())

    expected = Crop().apply(Flip().apply(images_NCHW, draws), draws)

    assert torch.equal(chain.apply(images_NCHW, draws), expected)


def test_p3_refuses_images_without_one_or_three_channels() -> None:
    with pytest.raises(ConfigError, match="but got 4 channels"):
        build_augmentation("p3").draw(2, (4, 8, 8), make_generator())


def test_build_augmentation_suggests_a_name_for_an_unknown_one() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown augmentation 'flipcrop'; did you mean 'flip_crop'\?"
    ):
        build_augmentation("flipcrop")
