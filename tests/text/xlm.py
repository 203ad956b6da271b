"""A tiny XLM-R with projection that diffusers has run (tools/golden_chinese.py), and prompts."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from sdbatch.models.config import ROBERTA_SERIES
from sdbatch.models.text import TextEncoder, text_network
from sdbatch.models.text_config import TextShape
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.folder import layouts
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import paddle_form
from sdbatch.weights.tokenizer import open_tokenizer
from tests.text.tiny import TEXT
from tests.weights.checkpoints import DEMO

VARIANTS = ("plain", "pre", "unmasked")
WIDTH = 128  # that the demo's UNet reads


@lru_cache
def golden() -> dict[str, Any]:
    """Prompts and their ids by tokenizer."""
    return json.loads(gzip.decompress((TEXT / "chinese.json.gz").read_bytes()))


@lru_cache
def record() -> dict[str, np.ndarray]:
    """Weights, inputs and outputs."""
    with np.load(TEXT / "xlm_roberta.npz") as file:
        return dict(file)


def recorded(key: str) -> Any:
    """What is kept as JSON: config, variants, settings, texts."""
    return json.loads(str(record()[key]))


def config(variant: str) -> dict[str, Any]:
    """The text encoder's config."""
    return {**recorded("config"), **recorded("variants")[variant]}


@lru_cache
def model() -> bytes:
    """The file of sentencepiece."""
    return lzma.decompress((TEXT / "xlm_roberta.model.xz").read_bytes())


@lru_cache
def tokenizer_json() -> bytes:
    """The same tokenizer as transformers 5 saves it."""
    return lzma.decompress((TEXT / "xlm_roberta.json.xz").read_bytes())


def write_tokenizer(folder: Path, **changes: object) -> TokenizerFiles:
    """A folder as AltDiffusion has it; `changes` are to its settings."""
    folder.mkdir(parents=True)
    (folder / "sentencepiece.bpe.model").write_bytes(model())
    settings = json.dumps({**recorded("settings"), **changes})
    (folder / "tokenizer_config.json").write_text(settings)
    return TokenizerFiles.in_folder(folder)


def tokenizer(given: TokenizerFiles, **changes: object) -> Tokenizer:
    """The tokenizer of a folder; `changes` are to the text encoder's config."""
    shape = TextShape.from_dict({**config("plain"), **changes})
    return open_tokenizer(given, ROBERTA_SERIES, shape.positions, (), shape.words)


def weights(*without: str) -> dict[str, np.ndarray]:
    """By diffusers' names, but for those that begin with any of `without`."""
    start = "weights/"
    named = {k.removeprefix(start): w for k, w in record().items() if k.startswith(start)}
    return {k: w.astype(np.float32) for k, w in named.items() if not k.startswith(without)}


def write_checkpoint(folder: Path, variant: str) -> Path:
    """The demo with this text encoder, its projection made as wide as the demo's UNet reads."""
    shutil.copytree(DEMO, folder)
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
    write_tokenizer(folder / "tokenizer")
    (folder / "text_encoder").mkdir()
    raw = {**config(variant), "project_dim": WIDTH}
    (folder / "text_encoder" / "config.json").write_text(json.dumps(raw))
    save_file(wide_weights(variant), folder / "text_encoder" / "model.safetensors")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "_class_name": "AltDiffusionPipeline",
        "text_encoder": ["alt_diffusion", ROBERTA_SERIES],
        "tokenizer": ["transformers", "XLMRobertaTokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def wide_weights(variant: str) -> dict[str, np.ndarray]:
    """As published: only m18 has the second projection, all have the pooler."""
    found = weights() if variant == "pre" else weights("transformation_pre.", "pre_LN.")
    for key, array in found.items():
        if key.startswith("transformation"):
            found[key] = np.resize(array, (WIDTH, *array.shape[1:]))
    return found


def encoder(variant: str, given: TokenizerFiles) -> TextEncoder:
    """The network with the recorded weights, and a tokenizer."""
    raw = config(variant)
    unused = () if variant == "pre" else ("transformation_pre.", "pre_LN.")
    network = build(lambda: text_network(raw), "float32")
    layout = layouts("text_encoder", raw)[0]
    fill(network, weights(*unused).items(), layout, paddle_form.bert, source=variant)
    return TextEncoder(tokenizer(given), network)
