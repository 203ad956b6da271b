"""Textual inversion: new tokens for a CLIP text encoder, each with vectors of its own.

A token of several vectors stands for as many tokens, `token, token_1, token_2 ...`, and is written
in prompts by its first name. Imports no Paddle. Sources: Gal et al. 2022, arXiv 2208.01618;
diffusers `loaders/textual_inversion.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.errors import UserError, one_line
from sdbatch.text.bpe import normal
from sdbatch.weights.files.formats import open_tensor_file
from sdbatch.weights.files.tensor_file import TensorFile

TABLE = "text_model.embeddings.token_embedding.weight"
"""The weight that new tokens lengthen."""

_ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
_FLOATS = ("F16", "BF16", "F32", "F64")
_FORMS = (
    "{<token>: vectors} (diffusers), string_to_param or emb_params (web UIs), "
    "clip_l and clip_g (SDXL)"
)


@dataclass(frozen=True)
class Embedding:
    """A new token.

    Attributes:
        path: the file it was read from.
        token: as prompts write it.
        vectors: float32 [n, width] by text encoder: `text_encoder`, `text_encoder_2`.
    """

    path: Path
    token: str
    vectors: Mapping[str, np.ndarray]

    @property
    def words(self) -> tuple[str, ...]:
        """One word of the vocabulary for each vector."""
        count = len(next(iter(self.vectors.values())))
        return (self.token, *(f"{self.token}_{i}" for i in range(1, count)))


def open_embedding(path: Path, token: str | None = None) -> Embedding:
    """Read a textual inversion.

    Args:
        path: a file of diffusers, of a web UI, or for SDXL.
        token: how prompts shall write it; without one, as the file says, else the file's own name.

    Raises:
        UserError: unreadable, not an embedding, or a token that is no word.
    """
    file = open_tensor_file(path)
    own, keys = _keys(file)
    token = next(name for name in (token, own, path.stem) if name is not None)
    if not token or token.strip() != token:
        raise UserError(f"{path}: token {token!r}: expected a word, without spaces around it")
    vectors = {encoder: _vectors(file, key) for encoder, key in keys.items()}
    counts = {encoder: len(rows) for encoder, rows in vectors.items()}
    if len(set(counts.values())) != 1:
        raise UserError(f"{path}: expected as many vectors for each text encoder, found {counts}")
    return Embedding(path, token, vectors)


def refuse_misplaced(embeddings: Sequence[Embedding], encoders: Collection[str]) -> None:
    """Check that every embedding has vectors for each of the model's text encoders and no other.

    Raises:
        UserError: naming the file.
    """
    for embedding in embeddings:
        if set(embedding.vectors) != set(encoders):
            raise UserError(
                f"{embedding.path}: {embedding.token}: expected vectors for "
                f"{' and '.join(sorted(encoders))}, found {' and '.join(sorted(embedding.vectors))}"
                "; was it made for another family (SD 1.x, 2.x, XL)?"
            )


def extended(
    embeddings: Sequence[Embedding], component: str = "text_encoder", *, dtype: str | None = None
) -> Callable[[str, np.ndarray], np.ndarray]:
    """What is to be done to each weight of a text encoder: `patch(name, array) -> array`.

    New rows are appended to `TABLE`; other weights are passed through.

    Args:
        embeddings: in the order of their ids.
        component: which text encoder.
        dtype: of the longer table, by default its own; see `lora.lora_patch`.

    Raises:
        UserError: from the patch, where vectors have another width than the table's rows.
    """

    def patch(name: str, array: np.ndarray) -> np.ndarray:
        if name != TABLE or not embeddings:
            return array
        for embedding in embeddings:
            found = embedding.vectors[component].shape[1]
            if found != array.shape[1]:
                raise UserError(
                    f"{embedding.path}: {embedding.token}: expected vectors of width "
                    f"{array.shape[1]} for the {component}, found {found}; was it made for "
                    "another family (SD 1.x, 2.x, XL)?"
                )
        rows = [embedding.vectors[component] for embedding in embeddings]
        return np.concatenate([array, *rows], dtype=dtype or array.dtype, casting="same_kind")

    return patch


def extended_config(config: Mapping[str, Any], embeddings: Sequence[Embedding]) -> dict[str, Any]:
    """A text encoder's config with room for the new tokens."""
    more = sum(len(embedding.words) for embedding in embeddings)
    return {**config, "vocab_size": config["vocab_size"] + more}


def new_words(
    embeddings: Sequence[Embedding], vocabulary: Collection[str], vocab_size: int
) -> dict[str, tuple[int, ...]]:
    """The ids that each new token stands for in prompts; the first has the id `vocab_size`.

    A token stands for all its words; a word of a token of several vectors, for itself.

    Args:
        embeddings: in the order of `extended`.
        vocabulary: all words of the tokenizer.
        vocab_size: of the text encoder, before it is extended.

    Raises:
        UserError: a token that is known already, two that are one, or ids that would not be the
            rows that `extended` appends.
    """
    if not embeddings:
        return {}
    if len(vocabulary) != vocab_size:
        raise UserError(
            f"{embeddings[0].path}: cannot be added: the tokenizer has {len(vocabulary)} words, "
            f"the text encoder {vocab_size}"
        )
    _refuse_known(embeddings, vocabulary)
    words = [word for embedding in embeddings for word in embedding.words]
    ids = {word: (vocab_size + i,) for i, word in enumerate(words)}
    whole = {e.token: tuple(ids[word][0] for word in e.words) for e in embeddings}
    return ids | whole


def _refuse_known(embeddings: Sequence[Embedding], vocabulary: Collection[str]) -> None:
    seen: dict[str, Embedding] = {}
    for embedding in embeddings:
        for word in embedding.words:
            if word in vocabulary:
                raise UserError(
                    f"{embedding.path}: token {word!r}: the model's vocabulary has it already; "
                    "give another token"
                )
            other = seen.setdefault(normal(word), embedding)
            if other is not embedding:
                raise UserError(
                    f"{embedding.path}: token {word!r}: {other.path} has it already; "
                    "give another token"
                )


def _keys(file: TensorFile) -> tuple[str | None, dict[str, str]]:
    """The token that the file names, if it does, and the key of the vectors by text encoder."""
    # The first implementation kept the id of the placeholder as a tensor.
    keys = [key for key in file.tensors if not key.startswith("string_to_token.")]
    if keys and all(key in _ENCODERS for key in keys):
        return None, {_ENCODERS[key]: key for key in keys}
    if len(keys) != 1:
        found = ", ".join(map(one_line, file.tensors))[:200] or "nothing"
        raise UserError(f"{file.path}: not an embedding: expected {_FORMS}; found {found}")
    (key,) = keys
    if key.startswith("string_to_param."):
        name = file.metadata.get("name")
        return (name if isinstance(name, str) and name else None), {"text_encoder": key}
    nameless = key in ("", "emb_params")  # "" is what a file of one bare tensor holds
    return (None if nameless else key), {"text_encoder": key}


def _vectors(file: TensorFile, key: str) -> np.ndarray:
    info = file.tensors[key]
    if len(info.shape) not in (1, 2) or 0 in info.shape or info.dtype not in _FLOATS:
        raise UserError(
            f"{file.path}: {one_line(key)}: expected vectors [n, width] of floating point numbers, "
            f"found {info.dtype} of shape {list(info.shape)}"
        )
    return np.atleast_2d(file.read(key).astype(np.float32))
