"""Operations chosen for each image are torchvision's, drawn as torchvision draws them, by random numbers of ours."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, ks_2samp
from torchvision.transforms import v2

from drkd.data.augment import OF_ERASING, Augmentation, random_numbers
from drkd.data.operations import BINS, OPERATIONS, apply, drawn, erase, jitter, operate
from drkd.utils.errors import InputError

TRIVIAL, RAND = Augmentation(policy="trivial"), Augmentation(policy="randaugment")
THEIRS = {"trivial": v2.TrivialAugmentWide(), "randaugment": v2.RandAugment()}
DRAWS = 4000


def sample_images(count, size=32, channels=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 200, (count, channels, 4, 4), generator=draw, dtype=torch.uint8)
    smooth = torch.nn.functional.interpolate(low.float(), size=(size, size), mode="bilinear")
    return (smooth + torch.randint(0, 40, smooth.shape, generator=draw)).to(torch.uint8)


def numbers_for(name, step, *, negative=False):
    """The random numbers of an image that is to get this operation of TrivialAugment."""
    which = next(number for number, operation in enumerate(OPERATIONS) if operation.name == name)
    return np.array([0.0] * 54 + [(which + 0.5) / len(OPERATIONS), (step + 0.5) / BINS, 0.25 if negative else 0.75])


def their_draws(transform, image):
    """What torchvision's own transform draws, call by call."""
    seen = []

    class Watched(type(transform)):
        def _apply_image_or_video_transform(self, image, name, magnitude, **_):
            seen.append((name, magnitude))
            return image

    watched = Watched()
    for _ in range(DRAWS):
        watched(image)
    return seen


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_at_every_strength_equals_torchvision(operation, channels):
    (image,), theirs = sample_images(1, channels=channels), THEIRS["trivial"]
    space, signed = theirs._AUGMENTATION_SPACE[operation.name]
    magnitudes = space(BINS, 32, 32)
    magnitudes = torch.zeros(BINS) if magnitudes is None else magnitudes
    for step in range(0, BINS, 3):
        for negative in (False, True):
            ((name, magnitude),) = drawn(numbers_for(operation.name, step, negative=negative), TRIVIAL, 32, 32)
            value = float(magnitudes[step])
            expected = theirs._apply_image_or_video_transform(
                image, operation.name, -value if signed and negative else value, "nearest", theirs._fill
            )
            assert torch.equal(apply(image, name, magnitude), expected), (step, negative)


@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_randaugment_has_torchvisions_magnitudes(magnitude):
    how = Augmentation(policy="randaugment", operations=1, magnitude=magnitude)
    (image,) = sample_images(1, size=40)
    for operation in OPERATIONS:
        space, _ = v2.RandAugment._AUGMENTATION_SPACE[operation.name]
        values = space(BINS, 40, 40)
        ((name, ours),) = drawn(numbers_for(operation.name, 0), how, 40, 40)
        expected = THEIRS["trivial"]._apply_image_or_video_transform(
            image, name, 0.0 if values is None else float(values[magnitude]), "nearest", THEIRS["trivial"]._fill
        )
        assert torch.equal(apply(image, name, ours), expected), name


@pytest.mark.parametrize("policy", ["trivial", "randaugment"])
def test_operations_and_magnitudes_are_drawn_as_often_as_torchvisions(policy):
    """Chi-square of both samples; the images' 32 pixels make the largest translation the same."""
    torch.manual_seed(1)
    how = Augmentation(policy=policy)
    uniforms = random_numbers(5, 0, 0, np.arange(DRAWS), count=how.numbers)
    ours = [each for numbers in uniforms for each in drawn(numbers, how, 32, 32)]
    theirs = their_draws(THEIRS[policy], sample_images(1)[0])
    assert len(ours) == len(theirs)
    names = [Counter(name for name, _ in draws) for draws in (ours, theirs)]
    assert chi2_contingency([[count[each.name] for each in OPERATIONS] for count in names]).pvalue > 0.01
    signed = {each.name for each in OPERATIONS if each.signed}
    strengths = [Counter(round(m, 3) for name, m in draws if name == "Rotate") for draws in (ours, theirs)]
    seen = sorted(set(strengths[0]) | set(strengths[1]))
    assert len(seen) > (1 if policy == "randaugment" else 55)
    assert chi2_contingency([[count[each] for each in seen] for count in strengths]).pvalue > 0.01
    for draws in (ours, theirs):
        values = [magnitude for name, magnitude in draws if name in signed and magnitude]
        assert np.mean(np.array(values) < 0) == pytest.approx(0.5, abs=0.04)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.permutations(range(12)),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.sampled_from([TRIVIAL, RAND, Augmentation(policy="trivial", jitter=(0.4, 0.4, 0.4, 0.1), erasing=0.9)]),
    st.sampled_from([(8, 1), (8, 3), (100, 3)]),
)
def test_an_image_is_the_same_in_any_batch(order, count, seed, how, shape):
    images, uniforms = sample_images(12, *shape), random_numbers(seed, 3, 0, np.arange(12), count=how.numbers)
    whole = operate(images, uniforms, how)
    some = torch.tensor(order[:count])
    assert torch.equal(operate(images[some], uniforms[some.numpy()], how, workers=2), whole[some])
    for made, rows in ((whole, slice(None)), (whole[some], some.numpy())):
        erased = erase(made.float(), uniforms[rows], how.erasing)
        assert torch.equal(erased, erase(whole.float(), uniforms, how.erasing)[rows])


def test_the_input_is_not_written_to():
    images = sample_images(8)
    before = images.clone()
    operate(images, random_numbers(0, 0, 0, np.arange(8), count=60), RAND)
    assert torch.equal(images, before)


def test_small_images_are_not_moved_out_of_sight():
    ((name, magnitude),) = drawn(numbers_for("TranslateX", 30), TRIVIAL, 8, 8)
    assert (name, magnitude) == ("TranslateX", 8.0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("numbers", [[0.0, 0.25, 0.5, 0.75, 0.0], [0.9, 0.8, 0.1, 0.3, 0.999], [0.5, 0.5, 0.5, 1, 0.4]])
def test_jitter_equals_torchvision(numbers, channels):
    most = (0.4, 0.3, 1.0, 0.1)
    (image,) = sample_images(1, channels=channels)
    orders = [torch.tensor(order) for order in itertools.permutations(range(4))]
    low, high = np.array([0.6, 0.7, 0.0, -0.1]), np.array([1.4, 1.3, 2.0, 0.1])
    factors = low + np.array(numbers[:4]) * (high - low)
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    parameters = {"fn_idx": orders[int(24 * numbers[4])], **dict(zip(names, factors.tolist(), strict=True))}
    theirs = v2.ColorJitter(*most).transform(image, parameters)
    assert torch.equal(jitter(image, np.array(numbers), most), theirs)


def test_rectangles_are_drawn_as_torchvisions():
    torch.manual_seed(2)
    theirs, image = v2.RandomErasing(p=1.0), torch.zeros(1, 24, 32)
    boxes = [theirs.make_params([image]) for _ in range(1000)]
    uniforms = random_numbers(7, 0, 0, np.arange(1000), count=57)
    gone = erase(torch.ones(1000, 1, 24, 32), uniforms, 1.0)[:, 0] == 0
    rows, columns = gone.any(dim=2), gone.any(dim=1)
    assert torch.equal(gone, rows[:, :, None] & columns[:, None, :])
    ours = {
        **{"h": rows.sum(1), "w": columns.sum(1)},
        **{"i": rows.to(torch.uint8).argmax(1), "j": columns.to(torch.uint8).argmax(1)},
    }
    for name, values in ours.items():
        assert ks_2samp(values.numpy(), [box[name] for box in boxes]).pvalue > 0.01, name


def test_so_many_images_are_erased():
    uniforms = random_numbers(3, 0, 0, np.arange(2000), count=57)
    gone = (erase(torch.ones(2000, 2, 16, 16), uniforms, 0.25) == 0).flatten(1).any(dim=1)
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert gone.tolist() == (uniforms[:, OF_ERASING.start] < 0.25).tolist()


def test_an_image_too_small_for_every_attempt_is_left_alone():
    uniforms = random_numbers(0, 0, 0, np.arange(50), count=57)
    assert erase(torch.ones(50, 1, 1, 1), uniforms, 1.0).sum() == 50


def test_other_images_than_grey_and_colour_are_refused():
    with pytest.raises(InputError, match="1 or 3 channels, got 2"):
        operate(sample_images(2, channels=2), random_numbers(0, 0, 0, np.arange(2), count=57), TRIVIAL)


def test_magnitudes_are_torchs_own():
    ((_, magnitude),) = drawn(numbers_for("Rotate", 7), TRIVIAL, 32, 32)
    assert magnitude == torch.linspace(0.0, 135.0, BINS)[7].item()
    assert math.isclose(magnitude, 31.5, rel_tol=1e-6)
