"""What every augmentation promises."""

import inspect

import pytest
import torch

from rlp_sweeps.training import augmentation, colors, resized_crop
from rlp_sweeps.training.augmentation import AUGMENTATIONS, build_augmentation

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 12, 20)]
EVERY = pytest.mark.parametrize("name", AUGMENTATIONS)


def make_images(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_every_augmentation_keeps_shape_and_range(name: str, shape: tuple[int, int, int]) -> None:
    images_NCHW = make_images(16, *shape)
    before_NCHW = images_NCHW.clone()
    change = build_augmentation(name)

    result_NCHW = change.apply(images_NCHW, change.draw(16, shape, torch.Generator()))

    assert result_NCHW.shape == images_NCHW.shape
    assert result_NCHW.dtype in (torch.uint8, torch.float32)
    assert 0 <= float(result_NCHW.min()) <= float(result_NCHW.max()) <= 255
    assert torch.equal(images_NCHW, before_NCHW)


@EVERY
def test_every_augmentation_repeats_its_bits_from_one_seed(name: str) -> None:
    images_NCHW, change = make_images(8, 3, 32, 32), build_augmentation(name)
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]

    first, again, other = (
        change.apply(images_NCHW, change.draw(8, (3, 32, 32), generator))
        for generator in generators
    )

    assert torch.equal(first, again)
    assert name == "none" or not torch.equal(first, other)


@EVERY
def test_every_augmentation_draws_one_row_a_sample_on_the_cpu(name: str) -> None:
    state = torch.get_rng_state()

    draws = build_augmentation(name).draw(7, (3, 32, 32), torch.Generator())

    assert all(len(draw) == 7 and draw.device.type == "cpu" for draw in draws.values())
    assert torch.equal(torch.get_rng_state(), state)


@EVERY
def test_every_augmentation_treats_samples_apart(name: str) -> None:
    images_NCHW, change = make_images(8, 3, 32, 32), build_augmentation(name)
    draws = change.draw(8, (3, 32, 32), torch.Generator())
    together_NCHW = change.apply(images_NCHW, draws)

    for i in (0, 3, 7):
        alone = change.apply(
            images_NCHW[i : i + 1], {key: draw[i : i + 1] for key, draw in draws.items()}
        )

        torch.testing.assert_close(alone[0], together_NCHW[i], atol=1e-4, rtol=0)


@EVERY
def test_every_augmentation_vectorizes_without_reading_values_back(name: str) -> None:
    change = build_augmentation(name)
    draws = change.draw(4, (3, 32, 32), torch.Generator())
    on_meta = {key: draw.to("meta") for key, draw in draws.items()}

    result_NCHW = change.apply(make_images(4, 3, 32, 32).to("meta"), on_meta)

    assert result_NCHW.shape == (4, 3, 32, 32)


def test_names_of_draws_are_unique_over_all_steps() -> None:
    modules = (augmentation, colors, resized_crop)
    kinds = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    steps = [kind for kind in kinds if hasattr(kind, "draw") and kind.__name__ != "Augmentation"]
    names = [
        name
        for kind in steps
        if kind.__name__ != "Chain"
        for name in kind().draw(2, (3, 8, 8), torch.Generator())
    ]

    assert len(names) == len(set(names)) >= 9
