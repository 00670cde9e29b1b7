"""Pictures keep their values, or are refused: nothing is altered."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medjax.data import images
from medjax.errors import UserError


def png(path, pixels, kind):
    """A PNG of 16 bits as its standard has it: kind 0 gray, 2 colour, 4 gray with alpha."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = pixels.shape[:2]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
    return path


def tiff(path, pixels, *, photometric=1, sample=1):
    """A TIFF of one strip with these tags."""
    data, (height, width) = pixels.tobytes(), pixels.shape
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, pixels.dtype.itemsize * 8),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
        (339, 3, sample),
    ]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1)
        + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value))
        for tag, kind, value in tags
    )
    path.write_bytes(
        b"II"
        + struct.pack("<HI", 42, 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", 0)
    )
    return path


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [(2, np.full((2, 2, 3), [17, 300, 65297])), (4, np.full((2, 2, 2), [300, 65535]))],
)
def test_sixteen_bits_that_pillow_halves_are_refused(tmp_path, kind, pixels):
    with pytest.raises(UserError, match="16 bits, which would be altered"):
        images.read(png(tmp_path / "a.png", pixels, kind))


def test_gray_of_sixteen_bits_keeps_its_type_whatever_its_values(tmp_path):
    for level in (3, 60000):
        found = images.read(png(tmp_path / "a.png", np.full((2, 3), level), 0)).pixels
        assert found.dtype == np.uint16
        assert (found == level).all()


@pytest.mark.parametrize(
    ("kind", "sample", "low", "high", "dtype"),
    [
        (np.uint8, 1, 0, 200, np.uint8),
        (np.int8, 2, -100, 100, np.float32),
        (np.uint16, 1, 0, 60000, np.uint16),
        (np.int16, 2, -3000, 3000, np.float32),
        (np.uint32, 1, 0, 2**24, np.float32),
        (np.int32, 2, -5, 5, np.float32),
        (np.int32, 2, 0, 5, np.float32),
        (np.float32, 3, -0.5, 0.5, np.float32),
    ],
)
def test_every_type_of_tiff_by_its_tags(tmp_path, kind, sample, low, high, dtype):
    pixels = np.array([[low, high, low], [high, low, high]], kind)
    found = images.read(tiff(tmp_path / "a.tif", pixels, sample=sample)).pixels
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[..., 0], pixels)


def test_numbers_too_large_for_float32_are_refused(tmp_path):
    with pytest.raises(UserError, match="values up to 4294967295, more than float32"):
        images.read(tiff(tmp_path / "a.tif", np.full((2, 2), 2**32 - 1, np.uint32)))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_is_zero_is_inverted_in_any_depth(tmp_path, kind):
    top = np.iinfo(kind).max
    pixels = np.array([[0, top], [top // 4, 1]], kind)
    found = images.read(tiff(tmp_path / "a.tif", pixels, photometric=0)).pixels[..., 0]
    np.testing.assert_array_equal(found, top - pixels)


def test_white_is_zero_of_signed_values_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"WhiteIsZero of signed|16-bit signed values in a way"):
        images.read(tiff(tmp_path / "a.tif", np.zeros((2, 2), np.int16), photometric=0, sample=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_pictures_stand_upright(tmp_path, suffix, orientation):
    """As `ImageOps.exif_transpose` turns them, and every viewer."""
    from PIL import ImageOps

    gray = np.zeros((16, 24), np.uint8)
    gray[:8, 16:] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gray).save(tmp_path / f"a.{suffix}", exif=exif)
    plain = Image.fromarray(gray)
    plain.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(plain)).astype(int)
    found = images.read(tmp_path / f"a.{suffix}").pixels[..., 0].astype(int)
    assert np.abs(found - upright).max() < 40


def test_of_several_pictures_in_a_jpeg_the_first_is_taken(tmp_path):
    first = Image.fromarray(np.full((20, 30, 3), 90, np.uint8))
    preview = Image.fromarray(np.zeros((10, 15, 3), np.uint8))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    found = images.read(tmp_path / "a.jpg")
    assert (found.pixels.shape, found.axes) == ((20, 30, 3), "yx")


def test_pages_of_one_kind_are_a_volume_and_others_are_told(tmp_path):
    a, b = (Image.fromarray(np.zeros((4, n), np.uint8)) for n in (5, 6))
    a.save(tmp_path / "same.tif", save_all=True, append_images=[a, a])
    assert images.read(tmp_path / "same.tif").pixels.shape == (3, 4, 5, 1)
    a.save(tmp_path / "odd.tif", save_all=True, append_images=[b])
    with pytest.raises(UserError, match=r"page 2 differs from the first in size or type .6 x 4 L"):
        images.read(tmp_path / "odd.tif")


def test_transparency_is_refused_and_what_is_opaque_read(tmp_path):
    colour = np.full((4, 4, 4), 255, np.uint8)
    colour[..., :3] = 80
    Image.fromarray(colour).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png").pixels.shape == (4, 4, 3)
    colour[0, 0, 3] = 10
    Image.fromarray(colour).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="has transparent pixels"):
        images.read(tmp_path / "a.png")


def test_colours_of_print_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4, 4), np.uint8), "CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="colours are CMYK"):
        images.read(tmp_path / "a.jpg")


def test_one_flipped_bit_of_a_png_is_found(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (30, 30), dtype=np.uint8)).save(tmp_path / "a.png")
    good = (tmp_path / "a.png").read_bytes()
    for _ in range(30):
        bad = bytearray(good)
        bad[int(rng.integers(40, len(bad) - 12))] ^= 1 << int(rng.integers(0, 8))
        (tmp_path / "a.png").write_bytes(bytes(bad))
        with pytest.raises(UserError, match="unreadable or truncated"):
            images.read(tmp_path / "a.png")


def test_many_pages_are_refused_before_they_take_memory(tmp_path):
    page = Image.fromarray(np.zeros((400, 400), np.uint8))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page] * 40)
    with pytest.raises(UserError, match=r"more than `max_image_gb=0\.001`"):
        images.read(tmp_path / "a.tif", limit_bytes=10**6)
    assert images.read(tmp_path / "a.tif").pixels.shape == (41, 400, 400, 1)


def test_channels_are_converted_as_pillow_does(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    gray = images.in_channels(rgb, "gray")
    assert (
        np.abs(gray[..., 0].astype(int) - np.asarray(Image.fromarray(rgb).convert("L"))).max() <= 1
    )
    assert images.in_channels(gray, "rgb").shape == (6, 6, 3)
    assert images.in_channels(rgb, "") is rgb


def test_channels_of_new_images_change_only_where_nothing_is_lost():
    gray = np.random.default_rng(0).integers(0, 255, (6, 6, 1), dtype=np.uint8)
    rgb = np.repeat(gray, 3, -1)
    np.testing.assert_array_equal(images.match_channels(rgb, "", count=1), gray)
    np.testing.assert_array_equal(images.match_channels(gray, "", count=3), rgb)
    rgb[0, 0, 1] ^= 1
    assert images.match_channels(rgb, "", count=1).shape == (6, 6, 3)  # and is refused
    assert images.match_channels(rgb, "gray", count=1).shape == (6, 6, 1)


def test_a_tiff_that_lost_its_end_is_told_wherever_it_was_cut(tmp_path):
    """Pillow alone gives fewer pages, or black parts, without a word."""
    rng = np.random.default_rng(0)
    first, *rest = [
        Image.fromarray(rng.integers(0, 255, (9, 11), dtype=np.uint8)) for _ in range(4)
    ]
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression="tiff_lzw")
    whole = (tmp_path / "a.tif").read_bytes()
    for cut in range(0, len(whole) - 8, 7):
        (tmp_path / "a.tif").write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"a\.tif: "):
            images.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({273: (8, 20), 279: (12, 12), 278: (2,)}, None),  # two strips of two rows: all there
        ({273: (8,), 279: (24,), 278: (2,)}, "parts of its page 1 are missing"),
        ({279: (0,)}, "parts of its page 1 are missing"),
        ({279: (10**6,)}, "parts of its page 1"),
        ({277: (2,), 338: (0,)}, "1 values more a pixel than it shows"),
        ({258: (64,), 339: (3,)}, "64-bit float values in a way that cannot be read"),
    ],
)
def test_the_tags_of_a_tiff_are_believed(tmp_path, change, words):
    data = np.arange(24, dtype=np.uint8).tobytes()
    tags = {
        256: (6,),
        257: (4,),
        258: (8,),
        259: (1,),
        262: (1,),
        273: (8,),
        277: (1,),
        278: (4,),
        279: (24,),
        339: (1,),
        **change,
    }
    after = 8 + len(data) + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    for tag, values in sorted(tags.items()):
        place = struct.pack("<I", values[0])
        if len(values) > 1:
            place = struct.pack("<I", after + len(more))
            more += struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values)) + place
    path = tmp_path / "a.tif"
    path.write_bytes(
        b"II"
        + struct.pack("<HI", 42, 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
        + more
    )
    if words is None:
        np.testing.assert_array_equal(images.read(path).pixels.ravel(), np.arange(24))
    else:
        with pytest.raises(UserError, match=words):
            images.read(path)


def test_big_endian_values_that_pillow_turns_twice_are_refused(tmp_path):
    data = zlib.compress(np.full((2, 3), 16, ">i2").tobytes())
    tags = [
        (256, 4, 3),
        (257, 4, 2),
        (258, 3, 16),
        (259, 3, 8),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 2),
        (279, 4, len(data)),
        (339, 3, 2),
    ]
    entries = b"".join(
        struct.pack(">HHI", tag, kind, 1)
        + (struct.pack(">HH", v, 0) if kind == 3 else struct.pack(">I", v))
        for tag, kind, v in tags
    )
    (tmp_path / "a.tif").write_bytes(
        b"MM"
        + struct.pack(">HI", 42, 8 + len(data))
        + data
        + struct.pack(">H", len(tags))
        + entries
        + bytes(4)
    )
    with pytest.raises(UserError, match="16-bit signed values, big-endian and compressed"):
        images.read(tmp_path / "a.tif")


@pytest.mark.parametrize("depth", [1, 16])
def test_a_transparent_colour_of_a_gray_png_is_refused_in_any_depth(tmp_path, depth):
    chunk = struct.pack(">H", 1)
    picture = (
        Image.fromarray(np.array([[0, 1], [0, 0]], np.uint8) * 255).convert("1")
        if depth == 1
        else Image.fromarray(np.array([[5, 1], [9, 5]], np.uint16))
    )
    picture.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    body = b"tRNS" + chunk
    at = content.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(
        content[:at]
        + struct.pack(">I", 2)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + content[at:]
    )
    with pytest.raises(UserError, match="has transparent pixels"):
        images.read(tmp_path / "a.png")


def test_bitmaps_of_sixteen_bits_a_pixel_are_read(tmp_path):
    """Five or six bits a colour, which Pillow widens."""
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    pixels = struct.pack("<HH", 0xF800, 0x001F)
    size = 14 + 40 + 12 + 4
    (tmp_path / "a.bmp").write_bytes(
        b"BM" + struct.pack("<IHHI", size, 0, 0, 66) + header + masks + pixels
    )
    assert images.read(tmp_path / "a.bmp").pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
