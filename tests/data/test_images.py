"""Images decode to the channels and the size asked for; a bad one is named."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from drkd.data import images
from drkd.data.images import LazyImages, common_size, decode, decode_all, load_images
from drkd.data.preprocessing import Preprocessing, scaled
from drkd.utils.errors import InputError


def png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def colour(width=8, height=8, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixels_of(image):
    return np.asarray(image).reshape(*image.size[::-1], -1).transpose(2, 0, 1)


def saved(folder, count=5, size=8):
    for i in range(count):
        colour(size, size, seed=i).save(folder / f"{i}.png")
    return sorted(folder.glob("*.png"))


def test_a_colour_image_keeps_its_pixels():
    assert np.array_equal(decode(png(colour()), 8), pixels_of(colour()))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("side", "size", "margin"), [(32, 32, 1.143), (32, 48, 1.143), (32, 32, 1.0), (32, 16, 1.25)])
def test_an_image_in_a_file_is_what_it_is_in_memory(side, size, margin, interpolation):
    """What was measured in memory is what `drkd predict` sees; Pillow and torchvision round differently."""
    image = colour(side, side)
    in_file = decode(png(image), size, 3, margin, interpolation=interpolation)
    there = torch.from_numpy(pixels_of(image).copy())[None]
    in_memory = scaled(there, Preprocessing(size, margin=margin, interpolation=interpolation))[0].numpy()
    assert np.abs(in_file.astype(int) - in_memory).max() <= 1
    if margin == 1 and side == size:
        assert np.array_equal(in_file, pixels_of(image))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_decodes_to_the_channels_asked_for(mode, channels):
    decoded = decode(png(Image.new(mode, (8, 8))), 8, channels)
    assert (decoded.shape, decoded.dtype) == ((channels, 8, 8), np.uint8)


def test_grey_becomes_three_equal_channels():
    grey = colour().convert("L")
    assert np.array_equal(decode(png(grey), 8, 3), np.repeat(pixels_of(grey), 3, axis=0))


def test_colour_becomes_its_brightness():
    red = Image.new("RGB", (8, 8), (200, 0, 0))
    assert decode(png(red), 8, 1).ravel().tolist() == [60] * 64  # 0.299 of red, as ITU-R 601 has it


def test_alpha_is_left_out():
    clear = colour()
    clear.putalpha(7)
    assert np.array_equal(decode(png(clear), 8), pixels_of(colour()))


@pytest.mark.parametrize("options", [{}, {"transparency": bytes(range(256))}])
def test_a_palette_gives_its_colours(options):
    image = colour().quantize(16)
    assert np.array_equal(decode(png(image, **options), 8), pixels_of(image.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped():
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    assert np.array_equal(decode(png(Image.fromarray(deep)), 8, 1)[0], deep // 256)


@pytest.mark.parametrize("size", [(24, 8), (8, 24), (16, 16), (4, 6), (7, 100)])
def test_another_size_becomes_the_one_asked_for(size):
    assert decode(png(colour(*size)), 8).shape == (3, 8, 8)


def test_a_long_image_is_cropped_about_its_centre():
    wide = colour(24, 8)
    assert np.array_equal(decode(png(wide), 8), pixels_of(wide)[:, :, 8:16])


def test_a_large_image_is_scaled_whole():
    halves = Image.new("L", (32, 32), 0)
    halves.paste(255, (16, 0, 32, 32))
    decoded = decode(png(halves), 8, 1)[0]
    assert decoded[:, 0].tolist() == [0] * 8
    assert decoded[:, -1].tolist() == [255] * 8


def test_a_truncated_image_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(png(colour(64, 64))[:2000])
    with pytest.raises(InputError, match=r"cut\.png.*remove or replace"):
        decode(path, 64)


def test_a_truncated_jpeg_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "cut.jpg"
    colour(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"cut\.jpg"):
        decode(path, 64)


def test_text_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    with pytest.raises(InputError, match=r"notes\.png"):
        decode(path, 8)


def test_a_missing_image_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png"):
        decode(tmp_path / "gone.png", 8)


def test_one_bad_image_among_many_is_named(tmp_path):
    paths = saved(tmp_path)
    paths[3].write_bytes(b"")
    with pytest.raises(InputError, match=r"3\.png"):
        decode_all(paths, 8)


def test_bad_bytes_in_a_table_are_an_error():
    with pytest.raises(InputError, match="5 bytes in a table"):
        decode(b"01234", 8)


def test_bytes_and_files_decode_alike(tmp_path):
    path = saved(tmp_path, 1)[0]
    assert np.array_equal(decode(path, 8), decode(path.read_bytes(), 8))


def test_decode_all_keeps_the_order(tmp_path):
    paths = saved(tmp_path, 20)
    expected = np.stack([decode(path, 8) for path in paths])
    assert np.array_equal(decode_all(paths, 8).numpy(), expected)


def test_common_size_is_the_shared_side(tmp_path):
    assert common_size(saved(tmp_path)) == 8


@pytest.mark.parametrize("other", [(9, 9), (8, 9)])
def test_common_size_of_differing_images_is_none(tmp_path, other):
    colour(*other).save(tmp_path / "other.png")
    assert common_size(saved(tmp_path)) is None


def test_common_size_of_oblong_images_is_none():
    assert common_size([png(colour(8, 9)), png(colour(8, 9))]) is None


@pytest.mark.parametrize(("limit", "kind"), [(5 * 3 * 64, torch.Tensor), (5 * 3 * 64 - 1, LazyImages)])
def test_images_beyond_the_memory_limit_stay_on_disk(tmp_path, monkeypatch, limit, kind):
    monkeypatch.setattr(images, "MEMORY_LIMIT", limit)
    assert isinstance(load_images(saved(tmp_path), 8), kind)


def test_lazy_images_are_the_loaded_ones(tmp_path, monkeypatch):
    loaded = load_images(saved(tmp_path), 8)
    monkeypatch.setattr(images, "MEMORY_LIMIT", 0)
    lazy = load_images(saved(tmp_path), 8)
    index = torch.tensor([4, 0, 2, 2])
    assert (tuple(lazy.shape), len(lazy)) == (tuple(loaded.shape), len(loaded))
    assert torch.equal(lazy[index], loaded[index])


def test_a_selection_of_lazy_images_is_renumbered(tmp_path):
    lazy = LazyImages(saved(tmp_path), 8, 1)
    part = lazy.select(torch.tensor([3, 1]))
    assert part.shape == (2, 1, 8, 8)
    assert torch.equal(part[torch.tensor([1])], lazy[torch.tensor([1])])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_images_are_turned_as_their_exif_says(orientation, kind):
    tags = Image.Exif()
    tags[0x0112] = orientation
    file = io.BytesIO()
    upright = colour(8, 8)
    stored = {  # how a camera held that way stores what is upright
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: np.rot90,
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](np.asarray(upright))
    Image.fromarray(np.ascontiguousarray(stored)).save(file, kind, exif=tags, lossless=True)
    assert np.array_equal(decode(file.getvalue(), 8), pixels_of(upright))


def test_sixteen_bits_are_turned_too():
    tags = Image.Exif()
    tags[0x0112] = 3
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    assert np.array_equal(decode(png(Image.fromarray(deep), exif=tags), 8, 1)[0], deep[::-1, ::-1] // 256)


def test_a_sixteen_bit_pgm_is_scaled():
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    file = b"P5 8 8 65535\n" + deep.astype(">u2").tobytes()
    assert np.array_equal(decode(file, 8, 1)[0], deep // 256)


def test_one_bit_is_black_and_white():
    checks = np.indices((8, 8)).sum(axis=0) % 2 == 0
    assert np.array_equal(decode(png(Image.fromarray(checks)), 8, 1)[0], checks * np.uint8(255))


def test_cmyk_gives_its_colours():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).convert("CMYK").save(file, "TIFF")
    assert decode(file.getvalue(), 8)[:, 0, 0].tolist() == [200, 100, 50]


def test_what_cannot_be_read_is_black_where_it_is_taken_in(tmp_path):
    paths = saved(tmp_path)
    paths[3].write_bytes(b"")
    failed = {}
    decoded = decode_all(paths, 8, failed=failed)
    assert list(failed) == [3]
    assert decoded[3].sum() == 0
    assert np.array_equal(decoded[4].numpy(), decode(paths[4], 8))
