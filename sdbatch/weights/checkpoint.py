"""A checkpoint, whatever it was stored as: its networks, configs, tokenizers and digests.

`folder` and `single_file` open the kinds of sources; `source` chooses between them. Imports no
Paddle, and opening reads no tensor.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.errors import UserError
from sdbatch.models.config import UnsupportedConfig
from sdbatch.weights.files.tensor_file import DTYPES, TensorFile
from sdbatch.weights.maps import Layout


@dataclass(frozen=True)
class Place:
    """Where one tensor is: its file, and its key there."""

    file: TensorFile
    key: str

    @property
    def dtype(self) -> str:
        """As stored, a key of `tensor_file.DTYPES`."""
        return self.file.tensors[self.key].dtype


@dataclass(frozen=True)
class Component:
    """One network of a checkpoint.

    Attributes:
        name: unet, vae, text_encoder or text_encoder_2.
        source: the folder or file, for errors.
        config: of the network, as diffusers and transformers write it.
        config_path: where that was read.
        places: its tensors by the names that `layout` knows.
        layout: how the source names and orders them.
    """

    name: str
    source: Path
    config: Mapping[str, Any]
    config_path: Path
    places: Mapping[str, Place]
    layout: Layout

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors."""
        return sorted({place.file.path for place in self.places.values()})

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """All (name, array) pairs, memory-mapped, in the order they lie in."""

        def position(name: str) -> tuple[str, int]:
            place = self.places[name]
            return str(place.file.path), place.file.tensors[place.key].start

        for name in sorted(self.places, key=position):
            place = self.places[name]
            yield name, place.file.read(place.key)

    def stand_ins(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, array) pairs of the right shapes and dtypes that take no memory."""
        for name, place in self.places.items():
            yield name, np.broadcast_to(np.zeros((), DTYPES[place.dtype]), self.shape(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape as stored."""
        place = self.places[name]
        return place.file.tensors[place.key].shape

    def diffusers_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all weights by diffusers' names."""
        return {
            name: array.shape
            for key, stand_in in self.stand_ins()
            if not self.layout.why_dropped(key)
            for name, array in self.layout.rename(key, stand_in)
        }


def encoder_names(family: str) -> tuple[str, ...]:
    """The text encoders of a family, as their folders are called."""
    return ("text_encoder", "text_encoder_2")[: 2 if family == "sdxl" else 1]


def zeros_for_empty(family: str, index: Mapping[str, Any]) -> bool:
    """What a `model_index.json` says of empty negative prompts; SDXL's pipeline takes zeros."""
    return family == "sdxl" and bool(index.get("force_zeros_for_empty_prompt", True))


def tokenizer_name(encoder: str) -> str:
    """The folder of the tokenizer that belongs to a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer's vocabulary and settings: file name -> where it lies.

    `folder` is where a user would look for them.
    """

    folder: Path
    files: Mapping[str, Path]

    @classmethod
    def in_folder(cls, folder: Path) -> TokenizerFiles:
        """Every file of a tokenizer's folder.

        Raises:
            UserError: there is no such folder.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: missing; expected the tokenizer's vocabulary")
        files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
        return cls(folder, files)


@dataclass(frozen=True)
class Dropped:
    """A tensor of the source that no network has a use for, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: the folder or file that was named.
        family: sd1, sd2 or sdxl.
        evidence: what the family and the prediction type were told by, one line each.
        unet, vae, text_encoders: its networks; SDXL has two text encoders.
        tokenizers: one for each text encoder.
        scheduler: config of the noise schedule, with its prediction type.
        scheduler_path: where that was read.
        dropped: tensors that belong to no network.
        variant: what of `path` was taken, where it holds several sets of weights.
        zeros_for_empty: an empty negative prompt stands for zeros rather than for its text states
            (SDXL's `force_zeros_for_empty_prompt`).
    """

    path: Path
    family: str
    evidence: tuple[str, ...]
    unet: Component
    vae: Component
    text_encoders: tuple[Component, ...]
    tokenizers: tuple[TokenizerFiles, ...]
    scheduler: Mapping[str, Any]
    scheduler_path: Path
    dropped: tuple[Dropped, ...] = ()
    variant: str = ""
    zeros_for_empty: bool = False

    @cached_property
    def name(self) -> str:
        """The folder's or file's own name without a suffix, for metadata."""
        path = self.path.resolve()
        return path.stem if path.is_file() else path.name

    @property
    def components(self) -> tuple[Component, ...]:
        """All networks."""
        return (self.unet, self.vae, *self.text_encoders)

    @property
    def parameters(self) -> int:
        """How many numbers all networks hold."""
        return sum(math.prod(c.shape(name)) for c in self.components for name in c.places)

    @cached_property
    def weights_sha256(self) -> str:
        """Digest over the weight files' contents, whatever the files are called."""
        contents = {path: file_sha256(path) for c in self.components for path in c.files}
        digest = hashlib.sha256(self.variant.encode())
        for component in self.components:
            for content in sorted(contents[path] for path in component.files):
                digest.update(f"{component.name}:{content}\n".encode())
        return digest.hexdigest()

    @cached_property
    def config_sha256(self) -> str:
        """Digest over everything else that shapes a picture: configs and vocabularies."""
        digest = hashlib.sha256()
        configs = {component.name: component.config for component in self.components}
        configs["scheduler"] = self.scheduler
        digest.update(json.dumps(configs, sort_keys=True).encode())
        digest.update(b"zeros for empty" if self.zeros_for_empty else b"")
        for tokenizer in self.tokenizers:
            for name, path in sorted(tokenizer.files.items()):
                digest.update(f"\n{name}:{file_sha256(path)}".encode())
        return digest.hexdigest()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an unsupported config into a user's error that names the file."""
    try:
        yield
    except UnsupportedConfig as error:
        raise UserError(f"{path}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: missing, unreadable, or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
