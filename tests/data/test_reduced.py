"""A large JPEG is decoded at a part of its size, and comes out as if it had been decoded whole."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from drkd import InputError
from drkd.data.augment import ATTEMPTS, crop_box, random_numbers
from drkd.data.checking import check_data
from drkd.data.decoding import SPARE, decode, opened, reduce
from drkd.tasks.detection.splits import decode as decode_for_boxes


def photo(width, height, seed=0):
    """Smooth enough for a JPEG, and nowhere the same."""
    few = np.random.default_rng(seed).integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    return Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, **options)
    return file.getvalue()


def whole(data, size, channels=3, margin=1.0, uniforms=None, resample=Image.Resampling.BILINEAR):
    """What Pillow makes of all of its pixels."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB" if channels == 3 else "L")
    if uniforms is not None:
        left, top, wide, high = crop_box(uniforms, *image.size)
        image = image.crop((left, top, left + wide, top + high)).resize((size, size), resample)
    else:
        scale = round(size * margin) / min(image.size)
        wide, high = (max(size, round(side * scale)) for side in image.size)
        left, top = (wide - size) // 2, (high - size) // 2
        image = image.resize((wide, high), resample).crop((left, top, left + size, top + size))
    return np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)


def psnr(one, other):
    error = np.square(one.astype(float) - other.astype(float)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def oriented(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("L", 3), ("CMYK", 3)])
def test_a_large_photo_is_what_all_its_pixels_say(orientation, mode, channels):
    data = jpeg(photo(1003, 757).convert(mode), exif=oriented(orientation))
    found = decode(data, 40, channels, 1.125)
    assert found.shape == (channels, 40, 40)
    assert psnr(found, whole(data, 40, channels, 1.125)) > 40


@pytest.mark.parametrize("orientation", [1, 5, 8])
@pytest.mark.parametrize("index", range(4))
def test_a_random_part_of_a_large_photo_is_that_part(orientation, index):
    data = jpeg(photo(1003, 757), exif=oriented(orientation))
    uniforms = random_numbers(0, 0, 0, np.array([index]), count=2 + 2 * ATTEMPTS)[0]
    assert psnr(decode(data, 24, uniforms=uniforms), whole(data, 24, uniforms=uniforms)) > 37


def test_bicubic_is_pillows():
    data = jpeg(photo(900, 600))
    expected = whole(data, 32, margin=1.2, resample=Image.Resampling.BICUBIC)
    assert psnr(decode(data, 32, 3, 1.2, interpolation="bicubic"), expected) > 40
    assert psnr(decode(data, 32, 3, 1.2), expected) < psnr(decode(data, 32, 3, 1.2, interpolation="bicubic"), expected)


@settings(deadline=None, max_examples=30)
@given(width=st.integers(8, 200), height=st.integers(8, 200), size=st.integers(51, 120), cropped=st.booleans())
def test_an_image_of_less_than_four_times_the_size_is_bitwise_as_before(width, height, size, cropped):
    data = jpeg(photo(width, height))
    uniforms = random_numbers(0, 0, 0, np.array([width]), count=2 + 2 * ATTEMPTS)[0] if cropped else None
    assert np.array_equal(decode(data, size, uniforms=uniforms), whole(data, size, uniforms=uniforms))


@settings(deadline=None, max_examples=30)
@given(width=st.integers(8, 900), height=st.integers(8, 900), wanted=st.integers(4, 200))
def test_enough_pixels_are_left_and_not_many_more(width, height, wanted):
    with opened(jpeg(photo(width, height))) as image:
        factor = reduce(image, min(width, height), wanted).factor
        assert image.size == (-(-width // factor), -(-height // factor))
        assert factor == 1 or min(image.size) >= SPARE * wanted
        assert factor == 8 or min(width, height) / (2 * factor) < SPARE * wanted


def test_other_formats_are_decoded_whole():
    file = io.BytesIO()
    photo(640, 480).save(file, "PNG")
    with opened(file.getvalue()) as image:
        assert reduce(image, 480, 16).factor == 1
    assert np.array_equal(decode(file.getvalue(), 16), whole(file.getvalue(), 16))


def test_images_of_detectors_are_reduced_too(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(photo(1003, 757), exif=oriented(6)))
    found = decode_for_boxes(tmp_path / "a.jpg", 64)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    assert found.shape == (3, 85, 64)
    assert psnr(found.numpy().transpose(1, 2, 0), np.asarray(upright.resize((64, 85), Image.Resampling.BILINEAR))) > 35


def test_a_truncated_photo_is_found_wherever_it_is_read(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for seed in range(3):
            (tmp_path / name / f"{seed}.jpg").write_bytes(jpeg(photo(640, 480, seed + 3 * (name == "cat"))))
    bad = tmp_path / "cat" / "2.jpg"
    bad.write_bytes(bad.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"2\.jpg.*truncated"):
        decode(bad, 32)
    found = [problem for problem in check_data(tmp_path).problems if problem.severity == "error"]
    assert any("2.jpg" in problem.location and "truncated" in problem.reason for problem in found)
