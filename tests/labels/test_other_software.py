"""Labelled files in other software: exiftool, exempi (Adobe's XMP library), sd-parsers."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sd_parsers import ParserManager

from sdbatch.dataset.images import encode, parameters_text
from sdbatch.labels import Label, Mark
from sdbatch.labels.aigc import NAMESPACE, Aigc
from tests.examples import a_request
from tests.labels.test_files import forms, picture

try:
    from libxmp import XMPFiles
except Exception:  # its own error where Debian's libexempi8 is missing
    XMPFiles = None

PROMPT = '水墨画风格的城市夜景 🎆 & <b>"quotes"</b>'
PRODUCER = '新华社 & <示例> "一"'


@pytest.fixture
def labelled(form, tmp_path) -> Path:
    text = parameters_text(
        a_request(prompt=PROMPT), sampler="ddim", model="demo", weights_sha256="a" * 64
    )
    pixels = picture(width=96, height=64)
    label = Label(PRODUCER, mark=Mark())
    path = tmp_path / f"{os.urandom(4).hex()}.{form.suffix}"
    path.write_bytes(label.attached(encode(label.drawn(pixels), text, form), "n"))
    return path


def needs(program: str, there: bool) -> None:
    if not there:
        text = f"{program}: not installed; tools/setup_programs.sh installs it"
        if os.environ.get("SDBATCH_PROGRAMS") == "required":
            pytest.fail(text)
        pytest.skip(text)


def expected(found: str) -> None:
    aigc = Aigc.from_json(found)
    assert (aigc.Label, aigc.ContentProducer, aigc.ProduceID) == ("1", PRODUCER, "n")
    assert len(aigc.ReservedCode1) == 64


@forms
def test_exiftool_finds_the_object_and_no_fault(form, labelled):
    needs("exiftool", shutil.which("exiftool") is not None)
    done = subprocess.run(
        ["exiftool", "-json", "-a", "-G1", "-validate", "-error", "-XMP:all", labelled],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)[0]
    expected(found["XMP-TC260:Aigc"])
    assert found["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert "ExifTool:Error" not in found


@forms
def test_exempi_finds_the_object(form, labelled):
    needs("libexempi8", XMPFiles is not None)
    found = XMPFiles(file_path=str(labelled)).get_xmp()
    expected(found.get_property(NAMESPACE, "AIGC"))


@forms
def test_sd_parsers_finds_the_settings(form, labelled):
    found = ParserManager().parse(labelled)
    assert [prompt.value for prompt in found.prompts] == [PROMPT]
    (sampler,) = found.samplers
    assert (sampler.name, sampler.parameters["seed"], sampler.model.name) == ("DDIM", "7", "demo")


@forms
def test_it_still_is_a_picture(form, labelled):
    pixels = picture(width=96, height=64)
    image = Image.open(io.BytesIO(labelled.read_bytes()))
    image.verify()
    found = np.asarray(Image.open(labelled).convert("RGB"))
    if form.exact:
        assert np.array_equal(found, Mark().drawn(pixels))
