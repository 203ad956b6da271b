"""Pixels to PNG bytes, with the settings inside, and whether pixels are a picture at all."""

import io
import json
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from sdbatch.dataset.images import encode_png, judge, parameters_text, to_bytes
from tests.examples import a_picture, a_request

HASH = "0123456789abcdef" * 4


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


class TestJudge:
    def test_a_picture_is_ok(self):
        assert judge(a_picture()) == "ok"

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_one_value_that_is_not_finite_spoils_it(self, value):
        pixels = a_picture()
        pixels[3, 4, 1] = value
        assert judge(pixels) == "nan"

    @pytest.mark.parametrize("colour", [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (0.9, 0.1, 0.3)])
    def test_one_flat_colour_is_blank(self, colour):
        assert judge(np.full((64, 96, 3), colour, np.float32)) == "blank"

    def test_so_is_one_that_wavers_by_a_single_level(self):
        pixels = np.full((64, 96, 3), 100 / 255, np.float32)
        pixels[::2] = 101 / 255
        assert judge(pixels) == "blank"

    def test_a_small_faint_spot_is_a_picture(self):
        pixels = np.full((64, 96, 3), 100 / 255, np.float32)
        pixels[0, 0, 2] = 102 / 255
        assert judge(pixels) == "ok"


class TestBytes:
    def test_halves_go_to_the_even_level_as_diffusers_rounds(self):
        # (images * 255).round().astype("uint8"): 25.5, 76.5, 127.5 and 178.5
        pixels = np.array([0, 0.1, 0.3, 0.5, 0.7, 1], np.float32)
        assert to_bytes(pixels).tolist() == [0, 26, 76, 128, 178, 255]

    def test_every_level_survives(self):
        levels = np.arange(256, dtype=np.uint8)
        assert np.array_equal(to_bytes(levels.astype(np.float32) / 255), levels)


class TestPNG:
    @pytest.mark.parametrize("compression", [0, 6, 9])
    def test_keeps_every_pixel(self, compression):
        pixels = a_picture(8, 16)
        image = read_back(encode_png(pixels, "", compression))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 8))
        assert np.array_equal(np.asarray(image), to_bytes(pixels))

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    @example("a red star, à la carte")
    @example("红色的星，白色背景\nNegative prompt: 模糊\n🌟")
    def test_keeps_its_parameters_in_any_script(self, text):
        image = read_back(encode_png(a_picture(8, 8), text, 1))
        assert image.text == {"parameters": text}

    @pytest.mark.parametrize(("text", "chunk"), [("été", b"tEXt"), ("红星", b"iTXt")])
    def test_latin_text_stands_in_the_chunk_that_old_readers_know(self, text, chunk):
        assert chunk + b"parameters\0" in encode_png(a_picture(8, 8), text, 1)

    def test_the_same_picture_gives_the_same_bytes(self):
        one, other = (encode_png(a_picture(), parameters(), 6) for _ in range(2))
        assert one == other


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
