"""Tiny text encoders of random weights that transformers has run (tools/golden_text.py)."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from sdbatch.models.text import TextEncoder, text_network
from sdbatch.text import TextOptions
from sdbatch.text.encoder import PromptEncoder
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import diffusers, paddle_form
from sdbatch.weights.tokenizer import open_tokenizer
from tests.conftest import ASSETS, GOLDEN

TEXT = GOLDEN.parent / "text"
LENGTH = 12
FAMILIES = {"sd1": ("sd1",), "sd2": ("sd2",), "sdxl": ("sd1", "sdxl_2")}


@lru_cache
def record() -> dict[str, np.ndarray]:
    """Weights, inputs and outputs."""
    with np.load(TEXT / "encoders.npz") as file:
        return dict(file)


def texts(kind: str) -> list[str]:
    """The prompts that were recorded, `plain` or `weighted`."""
    return json.loads(str(record()["texts"]))[kind]


def tokenizer(pad_token: str) -> Tokenizer:
    """The demo's, for chunks of `LENGTH` tokens."""
    with tempfile.TemporaryDirectory() as name:
        folder = shutil.copytree(ASSETS / "demo" / "tokenizer", Path(name) / "tokenizer")
        (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": pad_token}))
        return open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", LENGTH)


@lru_cache
def encoder(name: str, **changes: object) -> TextEncoder:
    """`sd1`, `sd2`, or `sdxl_2`; SDXL's first is that of SD 1.x. `changes` are to its config."""
    config = {**json.loads(str(record()[f"{name}/config"])), **changes}
    network = build(lambda: text_network(config), "float32")
    start = f"{name}/weights/"
    weights = (
        (key.removeprefix(start), weight.astype(np.float32))
        for key, weight in record().items()
        if key.startswith(start)
    )
    fill(network, weights, diffusers.CLIP_TEXT, paddle_form.clip_text, source=name)
    return TextEncoder(tokenizer("<|endoftext|>" if name == "sd1" else "!"), network)


def prompt_encoder(family: str, zero_empty_negative: bool = False, **options) -> PromptEncoder:
    """The text encoders of a family; `options` are those of `TextOptions`."""
    return PromptEncoder(
        [encoder(name) for name in FAMILIES[family]],
        TextOptions(**options),
        sdxl=family == "sdxl",
        zero_empty_negative=zero_empty_negative,
    )
