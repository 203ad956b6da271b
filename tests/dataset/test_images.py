"""Pixels to image files, with the settings inside, and whether pixels are a picture at all."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from sdbatch.dataset.images import (
    ImageFormat,
    blurred,
    encode,
    judge,
    parameters_text,
    to_bytes,
)
from tests.examples import a_picture, a_request

HASH = "0123456789abcdef" * 4
PNG = ImageFormat("png", quality=95, compression=1)
JPEG = ImageFormat("jpeg", quality=95, compression=1)
BYTES = to_bytes(a_picture())
COLOURS = np.stack(
    np.broadcast_arrays(np.arange(0, 256, 4)[:, None], np.arange(0, 192, 2), 128), axis=-1
).astype(np.uint8)
"""uint8 [64, 96, 3]: red from top to bottom, green from left to right."""


def parameters(
    model: str = "demo",
    sampler: str = "ddim",
    noise: str = "torch_cpu",
    clip_skip: int = 0,
    **changes,
) -> str:
    return parameters_text(
        a_request(**changes),
        sampler=sampler,
        model=model,
        weights_sha256=HASH,
        noise=noise,
        clip_skip=clip_skip,
    )


def read_back(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def parameters_of(image: Image.Image) -> str:
    """What a file says of how it was made: a text chunk, or EXIF's UserComment."""
    if image.format == "PNG":
        assert image.text.keys() == {"parameters"}
        return image.text["parameters"]
    comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    return comment[8:].decode("utf-16-be")


def as_webui_reads(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and settings, split as the web UI's `parse_generation_parameters`."""
    *lines, last = text.strip().split("\n")
    prompt, negative = [], []
    part = prompt
    for line in lines:
        if line.startswith("Negative prompt:"):
            part, line = negative, line.removeprefix("Negative prompt:").strip()
        part.append(line)
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    settings = {key: json.loads(value) if value[:1] == '"' else value for key, value in pairs}
    return "\n".join(prompt), "\n".join(negative), settings


class TestBlurred:
    @pytest.mark.parametrize("size", [(512, 512), (64, 96), (8, 8)])
    def test_leaves_no_detail(self, size):
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        found = blurred(pixels)
        assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
        steps = np.abs(np.diff(found.astype(int), axis=0)).max()
        assert steps < 0.2 * np.abs(np.diff(pixels.astype(int), axis=0)).max()

    def test_is_the_same_each_time(self):
        pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
        assert np.array_equal(blurred(pixels), blurred(pixels))


class TestJudge:
    def test_a_picture_is_ok(self):
        assert judge(BYTES, finite=True) == "ok"

    def test_one_that_was_not_finite_is_not_whatever_its_bytes_are(self):
        assert judge(BYTES, finite=False) == "nan"
        assert judge(np.zeros_like(BYTES), finite=False) == "nan"

    @pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (230, 26, 77)])
    def test_one_flat_colour_is_blank(self, colour):
        assert judge(np.full((64, 96, 3), colour, np.uint8), finite=True) == "blank"

    def test_so_is_one_that_wavers_by_a_single_level(self):
        pixels = np.full((64, 96, 3), 100, np.uint8)
        pixels[::2] = 101
        assert judge(pixels, finite=True) == "blank"

    def test_a_slow_slope_is_a_picture(self):
        column = np.repeat(np.arange(100, 103, dtype=np.uint8), 32)
        assert judge(np.broadcast_to(column[:, None, None], (96, 64, 3)), finite=True) == "ok"

    @given(st.integers(0, 127), st.integers(0, 95), st.integers(0, 2), st.sampled_from([98, 102]))
    def test_so_is_a_faint_spot_wherever_it_is(self, row, column, channel, level):
        pixels = np.full((128, 96, 3), 100, np.uint8)
        pixels[row, column, channel] = level
        assert judge(pixels, finite=True) == "ok"

    @given(
        arrays(
            np.uint8,
            st.tuples(st.integers(1, 130), st.integers(1, 9), st.just(3)),
            elements=st.integers(0, 255) | st.integers(7, 9) | st.integers(254, 255),
            fill=st.sampled_from([0, 8, 254]),
        )
    )
    def test_blank_is_what_spans_at_most_one_level_in_every_channel(self, pixels):
        spans = np.ptp(pixels.reshape(-1, 3).astype(int), axis=0)
        assert judge(pixels, finite=True) == ("blank" if spans.max() <= 1 else "ok")


class TestBytes:
    def test_halves_go_to_the_even_level_as_diffusers_rounds(self):
        # (images * 255).round().astype("uint8"): 25.5, 76.5, 127.5 and 178.5
        pixels = np.array([0, 0.1, 0.3, 0.5, 0.7, 1], np.float32)
        assert to_bytes(pixels).tolist() == [0, 26, 76, 128, 178, 255]

    def test_every_level_survives(self):
        levels = np.arange(256, dtype=np.uint8)
        assert np.array_equal(to_bytes(levels.astype(np.float32) / 255), levels)

    @given(
        arrays(
            np.float32,
            array_shapes(min_dims=1, max_dims=4, max_side=6),
            elements=st.floats(0, 1, width=32)
            | st.integers(0, 510).map(lambda n: float(np.float32(n / 510))),
        )
    )
    def test_are_those_of_diffusers_for_any_pixels(self, pixels):
        before = pixels.copy()
        found = to_bytes(pixels)
        assert found.dtype == np.uint8
        assert np.array_equal(found, (pixels * 255).round().astype("uint8"))
        assert np.array_equal(pixels, before)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.filterwarnings("error")
    def test_of_what_is_not_finite_are_made_without_a_warning(self, value):
        pixels = a_picture()
        pixels[3, 4, 1] = value
        found = to_bytes(pixels)
        assert np.delete(found, 3, axis=0).tolist() == np.delete(BYTES, 3, axis=0).tolist()


class TestFormat:
    @pytest.mark.parametrize(
        ("form", "suffix", "label"), [(PNG, "png", "png"), (JPEG, "jpg", "jpeg q95")]
    )
    def test_has_a_suffix_and_a_label(self, form, suffix, label):
        assert (form.suffix, form.label) == (suffix, label)

    def test_only_what_changes_pixels_is_in_the_label(self):
        assert replace(PNG, compression=9, quality=5).label == PNG.label
        assert replace(JPEG, compression=9).label == JPEG.label
        assert replace(JPEG, quality=90).label != JPEG.label


@pytest.mark.parametrize("form", [PNG, JPEG], ids=lambda form: form.name)
class TestAnyFormat:
    def test_has_the_size_and_kind_that_it_says(self, form):
        image = read_back(encode(BYTES, "", form))
        assert (image.format, image.mode, image.size) == (form.name.upper(), "RGB", (96, 64))

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    @example("a red star, à la carte")
    @example("红色的星，白色背景\nNegative prompt: 模糊\n🌟")
    def test_keeps_its_parameters_in_any_script(self, form, text):
        assert parameters_of(read_back(encode(BYTES, text, form))) == text

    def test_the_same_picture_gives_the_same_bytes(self, form):
        assert encode(BYTES, parameters(), form) == encode(BYTES.copy(), parameters(), form)

    def test_threads_that_encode_at_once_do_not_mix_their_pictures(self, form):
        jobs = [(np.roll(BYTES, i, axis=1), f"{i}: 红星") for i in range(48)]
        alone = [encode(*job, form) for job in jobs]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda job: encode(*job, form), jobs))
        assert together == alone
        assert len(set(together)) == len(jobs)

    @pytest.mark.parametrize("size", [8, 256])
    def test_noise_which_no_file_makes_smaller_is_written_whole(self, form, size):
        noise = np.random.default_rng(7).integers(0, 256, (size, size, 3), dtype=np.uint8)
        best = replace(form, quality=100)
        found = np.asarray(read_back(encode(noise, parameters(), best)))
        assert np.abs(found.astype(int) - noise).max() <= 8

    def test_leaves_no_file_open(self, form):
        before = len(list(Path("/proc/self/fd").iterdir()))
        encode(BYTES, "", form)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestPNG:
    @pytest.mark.parametrize("compression", [0, 6, 9])
    def test_keeps_every_pixel(self, compression):
        image = read_back(encode(BYTES, "", replace(PNG, compression=compression)))
        assert np.array_equal(np.asarray(image), BYTES)

    def test_more_compression_makes_smaller_files(self):
        sizes = [len(encode(BYTES, "", replace(PNG, compression=c))) for c in (9, 1, 0)]
        assert sizes == sorted(sizes) and len(set(sizes)) == 3

    @pytest.mark.parametrize(("text", "chunk"), [("été", b"tEXt"), ("红星", b"iTXt")])
    def test_latin_text_stands_in_the_chunk_that_old_readers_know(self, text, chunk):
        assert chunk + b"parameters\0" in encode(BYTES, text, PNG)


class TestJPEG:
    @pytest.mark.parametrize(("quality", "most"), [(75, 16), (95, 5), (100, 3)])
    def test_is_close_to_the_pixels(self, quality, most):
        image = read_back(encode(COLOURS, "", replace(JPEG, quality=quality)))
        assert np.abs(np.asarray(image).astype(int) - COLOURS).max() <= most

    def test_lower_quality_makes_smaller_files(self):
        sizes = [len(encode(COLOURS, "", replace(JPEG, quality=q))) for q in (10, 50, 95, 100)]
        assert sizes == sorted(sizes) and len(set(sizes)) == 4

    def test_keeps_the_colour_of_every_pixel(self):
        stripes = np.zeros((64, 96, 3), np.uint8)
        stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200  # 4:2:0 would make them one purple
        found = np.asarray(read_back(encode(stripes, "", JPEG)))
        assert np.abs(found.astype(int) - stripes).max() <= 8

    def test_its_exif_is_that_of_the_web_ui(self):
        # piexif.dump({"Exif": {UserComment: helper.UserComment.dump("星", encoding="unicode")}}),
        # and the end of the second directory, which piexif leaves out.
        assert read_back(encode(BYTES, "星", JPEG)).info["exif"] == bytes.fromhex(
            "457869660000 4d4d002a00000008 0001 8769 0004 00000001 0000001a 00000000"
            "0001 9286 0007 0000000a 0000002c 00000000 554e49434f444500 661f"
        )

    @pytest.mark.parametrize("prompt", ["星" * 40_000, "🌟" * 20_000, "x" * 32_700])
    def test_what_no_exif_can_hold_is_cut_in_the_middle(self, prompt):
        text = parameters(prompt=prompt)
        found = parameters_of(read_back(encode(BYTES, text, JPEG)))
        assert found == f"{text[:8000]} ... {text[-8000:]}"
        assert as_webui_reads(found)[2] == as_webui_reads(text)[2]

    @pytest.mark.parametrize("length", [32_700, 32_736, 32_737, 32_738])
    def test_and_what_it_can_hold_is_not(self, length):
        found = parameters_of(read_back(encode(BYTES, "x" * length, JPEG)))
        assert len(found) == (length if length <= 32_737 else 16_005)


class TestParameters:
    def test_have_the_form_of_the_web_ui(self):
        assert parameters(negative_prompt="blur") == (
            "a red star\n"
            "Negative prompt: blur\n"
            "Steps: 20, Sampler: DDIM, CFG scale: 7.5, Seed: 7, Size: 96x64, "
            "Model hash: 0123456789, Model: demo, RNG: CPU, Version: sdbatch"
        )

    def test_say_what_else_the_web_ui_needs_to_make_the_picture_again(self):
        text = parameters(sampler="dpmpp_2m_karras", noise="philox", clip_skip=1, strength=0.75)
        settings = as_webui_reads(text)[2]
        assert (settings["Sampler"], settings["Schedule type"]) == ("DPM++ 2M", "Karras")
        assert (settings["RNG"], settings["Clip skip"]) == ("NV", "2")
        assert settings["Denoising strength"] == "0.75"

    def test_leave_out_an_empty_negative_prompt(self):
        assert parameters().split("\n")[1].startswith("Steps: 20")

    @pytest.mark.parametrize(
        ("sampler", "name"), [("ddim", "DDIM"), ("plms", "PLMS"), ("ddpm", "DDPM"), ("x", "x")]
    )
    def test_name_the_sampler_as_the_web_ui_does(self, sampler, name):
        assert as_webui_reads(parameters(sampler=sampler))[2]["Sampler"] == name

    def test_whole_numbers_have_no_decimals(self):
        assert "CFG scale: 7, " in parameters(guidance_scale=7.0)

    @pytest.mark.parametrize("model", ["demo", "太乙", "sd: v1, 5", 'my "best", model', "a\\b:c"])
    def test_any_model_name_is_read_back(self, model):
        settings = as_webui_reads(parameters(model=model))[2]
        assert (settings["Model"], settings["Version"]) == (model, "sdbatch")

    def test_prompts_of_several_lines_are_read_back(self):
        text = parameters(prompt="红色的星\nSteps: none", negative_prompt="模糊,\n低质量")
        prompt, negative, settings = as_webui_reads(text)
        assert (prompt, negative) == ("红色的星\nSteps: none", "模糊,\n低质量")
        assert (settings["Steps"], settings["Seed"], settings["Size"]) == ("20", "7", "96x64")
