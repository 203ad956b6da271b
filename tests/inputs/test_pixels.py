"""Pixels as diffusers makes them (tools/golden_inputs.py), from files that nobody vouches for."""

import hashlib
import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from sdbatch.inputs import (
    BadImage,
    ImageLimits,
    ImageRef,
    decode_image,
    decode_mask,
    load_image,
    load_mask,
)
from tests.conftest import ROOT

LIMITS = ImageLimits(max_pixels=1_000_000)


def _golden():
    with np.load(ROOT / "tests" / "golden" / "inputs.npz") as file:
        return dict(file)


GOLDEN = _golden()
FILES = {name[5:]: GOLDEN[name].tobytes() for name in GOLDEN if name.startswith("file/")}
if not features.check("avif"):  # older Pillow
    del FILES["avif"]
EXPECTED = [name for name in GOLDEN if "/" in name and name.split("/")[1] in FILES]


def encode(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, rows=b""):
    """A PNG file whose header says 8-bit grey of this size, whatever its rows hold."""

    def chunk(name, content):
        size, crc = len(content), zlib.crc32(name + content)
        return struct.pack(">I", size) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content) for name, content in chunks)


def refusal(data, limits=LIMITS, **options):
    messages = []
    for decode in (decode_image, decode_mask):
        with pytest.raises(BadImage) as error:
            decode(data, 16, 8, limits, **options)
        messages.append(str(error.value))
    assert messages[0] == messages[1] and "\n" not in messages[0]
    return messages[0]


class TestEqualToDiffusers:
    @pytest.mark.parametrize("case", [name for name in EXPECTED if name.startswith("image/")])
    def test_pictures(self, case):
        expected = GOLDEN[case]
        _, height, width = expected.shape
        found = decode_image(FILES[case.split("/")[1]], width, height, LIMITS)
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert found.flags.c_contiguous
        assert np.abs(found - expected).max() <= 1e-6

    @pytest.mark.parametrize("case", [name for name in EXPECTED if name.startswith("mask/")])
    def test_masks(self, case):
        expected = GOLDEN[case]
        _, height, width = expected.shape
        found = decode_mask(FILES[case.split("/")[1]], width, height, LIMITS)
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert np.array_equal(found, expected)


class TestValues:
    def test_levels_go_from_minus_one_to_one(self):
        levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        expected = levels.astype(np.float32) / 255 * 2 - 1
        assert np.array_equal(decode_image(encode(levels), 16, 16, LIMITS), [expected] * 3)

    def test_a_mask_is_painted_from_128_on(self):
        levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        assert np.array_equal(decode_mask(encode(levels), 16, 16, LIMITS), [levels >= 128])

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bits_keep_the_upper_eight(self, kind):
        levels = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
        deep = encode(levels + 77, kind)
        flat = encode((levels >> 8).astype(np.uint8))
        assert np.array_equal(
            decode_image(deep, 16, 16, LIMITS), decode_image(flat, 16, 16, LIMITS)
        )

    def test_transparency_hides_nothing(self):
        colour = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
        with_alpha, without = encode(colour), encode(colour[..., :3])
        assert np.array_equal(
            decode_image(with_alpha, 16, 16, LIMITS), decode_image(without, 16, 16, LIMITS)
        )

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_camera_s_orientation_is_undone(self, orientation):
        upright = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
        stored = {  # EXIF: where the stored first row and first column belong
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.T,
            6: upright.T[::-1],
            7: upright.T[::-1, ::-1],
            8: upright.T[:, ::-1],
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = encode(np.ascontiguousarray(stored), exif=exif)
        assert np.array_equal(
            decode_image(turned, 12, 8, LIMITS), decode_image(encode(upright), 12, 8, LIMITS)
        )


class TestLoading:
    def test_gives_pixels_and_the_digest_of_the_file(self, tmp_path):
        (tmp_path / "a.png").write_bytes(FILES["png_rgb"])
        for load, decode in [(load_image, decode_image), (load_mask, decode_mask)]:
            loaded = load(ImageRef("a.png"), tmp_path, 24, 16, LIMITS)
            assert np.array_equal(loaded.pixels, decode(FILES["png_rgb"], 24, 16, LIMITS))
            assert loaded.sha256 == hashlib.sha256(FILES["png_rgb"]).hexdigest()

    @pytest.mark.parametrize("load", [load_image, load_mask])
    def test_names_the_file_it_refuses(self, tmp_path, load):
        (tmp_path / "a.png").write_bytes(FILES["png_rgb"][:100])
        with pytest.raises(BadImage, match=r"^a\.png: expected a whole image, found it damaged"):
            load(ImageRef("a.png"), tmp_path, 24, 16, LIMITS)


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "found"),
        [(b"", "no bytes"), (b"<svg/>", "bytes 3c 73 76 67 2f 3e"), (bytes(500), "bytes 00 00")],
    )
    def test_what_is_no_image(self, data, found):
        message = refusal(data)
        assert message.startswith(f"bytes of {len(data)}: expected an image (PNG, JPEG, WebP, GIF,")
        assert found in message

    @pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "PCX", "EPS"])
    def test_other_formats_that_pillow_reads(self, kind):
        data = encode(np.zeros((16, 16, 3), np.uint8), kind)
        assert "expected an image (PNG" in refusal(data)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    @pytest.mark.parametrize("name", FILES)
    def test_a_third_of_a_file(self, name):
        data = FILES[name][: len(FILES[name]) // 3]
        assert "a.img: expected a whole image, found it damaged" in refusal(data, name="a.img")

    @pytest.mark.parametrize("kind", [np.float32, np.int32])
    def test_numbers_without_a_known_range(self, kind):
        data = encode(np.zeros((16, 16), kind), "TIFF")
        assert "expected 8 or 16 bits per channel" in refusal(data)


class TestBombs:
    @pytest.mark.parametrize("size", [(1001, 1000), (10_000, 10_000), (2**31 - 1, 2**31 - 1)])
    def test_are_refused_by_their_header_without_a_warning(self, size):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            message = refusal(png(*size))
        assert f"expected at most 1,000,000 pixels, found {size[0]}x{size[1]}" in message

    def test_the_limit_itself_is_allowed(self):
        data = png(1000, 1000, bytes(1001 * 1000))
        assert decode_image(data, 8, 8, LIMITS).max() == -1

    def test_a_gif_whose_frame_is_larger_than_its_screen(self):
        data = bytearray(FILES["gif"])
        frame = data.index(b",", 13 + 3 * (2 << (data[10] & 7)))
        data[frame + 5 : frame + 9] = struct.pack("<HH", 2000, 2000)
        assert "found 2000x2000" in refusal(bytes(data))


class TestAnyBytes:
    """Whatever is in a file: pixels or BadImage, never another error."""

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("name", FILES)
    def test_of_a_damaged_file(self, name, data):
        damaged = bytearray(FILES[name])
        for _ in range(data.draw(st.integers(1, 8))):
            # The beginning, with its headers and tables, is hit as often as all the rest.
            last = data.draw(st.sampled_from([60, len(damaged) - 1]))
            at = data.draw(st.integers(0, min(last, len(damaged) - 1)))
            replaced = data.draw(st.integers(0, 4))
            damaged[at : at + replaced] = data.draw(st.binary(max_size=4))
        self.decode(bytes(damaged))

    @given(st.sampled_from(sorted(FILES)), st.integers(0, 40), st.binary(max_size=200))
    def test_after_a_good_beginning(self, name, kept, rest):
        self.decode(FILES[name][:kept] + rest)

    def decode(self, data):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for decode, channels, least in ((decode_image, 3, -1), (decode_mask, 1, 0)):
                try:
                    pixels = decode(data, 16, 8, LIMITS)
                except BadImage as error:
                    assert "\n" not in str(error)
                else:
                    assert pixels.shape == (channels, 8, 16)
                    assert pixels.min() >= least and pixels.max() <= 1


class TestThreads:
    def test_decode_the_same_at_once_and_change_no_setting(self):
        settings_before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
        together = threading.Barrier(4)

        def decode_all(_):
            together.wait()
            return [decode_image(data, 24, 16, LIMITS).tobytes() for data in FILES.values()]

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(decode_all, range(4)))
        assert results == [results[0]] * 4
        assert settings_before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_needs_no_paddle():
    code = "import sys, sdbatch.inputs; print({'torch', 'paddle'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
