"""A diffusers folder on disk: its parts, configs, weight files and digest.

    model_index.json  unet/  vae/  text_encoder/  tokenizer/  scheduler/

Opening checks that the folder is whole; no tensor is read. Imports no Paddle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.errors import UserError
from sdbatch.weights.safetensors import open_safetensors
from sdbatch.weights.tensor_file import TensorFile

_WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


@dataclass(frozen=True)
class Component:
    """One network of a checkpoint: its config and the files that hold its tensors."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    files: tuple[TensorFile, ...]

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """All (key, array) pairs, memory-mapped, file by file."""
        for file in self.files:
            yield from file.items()


@dataclass(frozen=True)
class Checkpoint:
    """An opened diffusers folder."""

    folder: Path
    unet: Component
    vae: Component
    text_encoder: Component
    scheduler: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's own name, for metadata."""
        return self.folder.resolve().name

    @property
    def scheduler_path(self) -> Path:
        """The scheduler's config file."""
        return self.folder / "scheduler" / "scheduler_config.json"

    @property
    def tokenizer_folder(self) -> Path:
        """Where the vocabulary lies."""
        return self.folder / "tokenizer"

    @cached_property
    def weights_sha256(self) -> str:
        """Digest over the weight files' contents, whatever the files are called."""
        digest = hashlib.sha256()
        for component in (self.unet, self.vae, self.text_encoder):
            for content in sorted(file_sha256(file.path) for file in component.files):
                digest.update(f"{component.name}:{content}\n".encode())
        return digest.hexdigest()

    @cached_property
    def config_sha256(self) -> str:
        """Digest over everything else that shapes a picture: configs and vocabulary."""
        digest = hashlib.sha256()
        configs = {c.name: c.config for c in (self.unet, self.vae, self.text_encoder)}
        configs["scheduler"] = self.scheduler
        digest.update(json.dumps(configs, sort_keys=True).encode())
        for path in sorted(self.tokenizer_folder.iterdir()):
            if path.is_file():
                digest.update(f"\n{path.name}:{file_sha256(path)}".encode())
        return digest.hexdigest()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check that `folder` is a diffusers checkpoint and read its configs and weight headers.

    Raises:
        UserError: naming the file that is missing, malformed or truncated.
    """
    if not folder.is_dir():
        raise UserError(f"model.path: {folder}: no such folder; expected a diffusers checkpoint")
    if not (folder / "model_index.json").is_file():
        raise UserError(
            f"model.path: {folder}: not a diffusers checkpoint: it has no model_index.json"
        )
    if not (folder / "tokenizer").is_dir():
        raise UserError(f"{folder / 'tokenizer'}: missing; expected the tokenizer's vocabulary")
    return Checkpoint(
        folder=folder,
        unet=_open_component(folder, "unet"),
        vae=_open_component(folder, "vae"),
        text_encoder=_open_component(folder, "text_encoder"),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
    )


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


def _open_component(root: Path, name: str) -> Component:
    folder = root / name
    config = read_json(folder / "config.json")
    return Component(name, folder, config, _open_weights(folder, _WEIGHTS[name]))


def _open_weights(folder: Path, stem: str) -> tuple[TensorFile, ...]:
    """`stem.safetensors`, or the shards that `stem.safetensors.index.json` lists."""
    single = folder / f"{stem}.safetensors"
    index = folder / f"{stem}.safetensors.index.json"
    if single.is_file() or not index.is_file():
        if not single.is_file():
            found = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
            raise UserError(f"{single}: missing; the folder holds {found}")
        return (open_safetensors(single),)
    listed = read_json(index).get("weight_map")
    names = listed.values() if isinstance(listed, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{index}: expected a weight_map from keys to file names")
    return tuple(open_safetensors(folder / shard) for shard in sorted(set(names)))
