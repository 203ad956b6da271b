"""A judge's folder: configs read, headers checked, no tensor read. Imports no Paddle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sdbatch.errors import UserError
from sdbatch.models.config import UnsupportedConfig
from sdbatch.scoring.config import ARCHITECTURES, JudgeConfig, judge_config
from sdbatch.scoring.fitting import CONCEPTS, check_shapes, check_vocabulary
from sdbatch.scoring.preparation import Preparation
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import (
    Component,
    TokenizerFiles,
    file_sha256,
    naming,
    read_json,
)
from sdbatch.weights.folder import open_component
from sdbatch.weights.maps import judges
from sdbatch.weights.source import refuse_integers
from sdbatch.weights.tokenizer import open_tokenizer

KINDS = tuple(ARCHITECTURES)
CHINESE_CLIP_LENGTH = 52
"""Tokens of a text that Chinese-CLIP was trained with; its files say 512, as BERT's do.

Source: Yang et al. 2022, arXiv 2211.01335, and its code's `context_length`.
"""
_SETTINGS = "preprocessor_config.json"
_LAYOUTS = {"clip": judges.CLIP, "chinese_clip": judges.CHINESE_CLIP, "safety": judges.SAFETY}
_VOCABULARY = (
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.json", "added_tokens.json"),
    *("tokenizer_config.json", "special_tokens_map.json"),
)


@dataclass(frozen=True)
class JudgeFiles:
    """An opened judge.

    Attributes:
        kind: one of `KINDS`.
        component: its config and weights.
        config: of its towers.
        preparation: of pictures.
        settings_path: where that was read.
        vocabulary: the tokenizer's files; the safety checker has none.
    """

    kind: str
    component: Component
    config: JudgeConfig
    preparation: Preparation
    settings_path: Path
    vocabulary: TokenizerFiles | None

    @property
    def name(self) -> str:
        """The folder's own name, for metadata."""
        return self.component.source.resolve().name

    @cached_property
    def weights_sha256(self) -> str:
        """Digest over the weight files' contents, whatever the files are called."""
        contents = sorted(map(file_sha256, self.component.files))
        return hashlib.sha256("".join(f"{c}\n" for c in contents).encode()).hexdigest()

    @cached_property
    def config_sha256(self) -> str:
        """Digest over everything else that shapes a judgement: configs and vocabulary."""
        configs = [self.kind, self.component.config, read_json(self.settings_path)]
        digest = hashlib.sha256(json.dumps(configs, sort_keys=True).encode())
        for name in _VOCABULARY:
            path = self.vocabulary and self.vocabulary.files.get(name)
            digest.update(f"\n{name}:{file_sha256(path)}".encode() if path else b"")
        return digest.hexdigest()

    @property
    def concepts(self) -> tuple[int, ...]:
        """How many concepts a safety checker has, and how many special ones."""
        return tuple(self.component.shape(name)[0] for name in CONCEPTS)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of its text tower, no longer than that tower's positions.

        Raises:
            UserError: a vocabulary file is missing or malformed.
        """
        text = self.config.text
        longest = text["max_position_embeddings"]
        if self.kind == "chinese_clip":
            longest = min(longest, CHINESE_CLIP_LENGTH)
        return open_tokenizer(self.vocabulary, text["architectures"][0], longest)


def open_judge(path: Path, kind: str) -> JudgeFiles:
    """Check that `path` is the folder of a judge; read its configs and where its tensors lie.

    Args:
        path: as transformers or diffusers save it.
        kind: `clip`, `chinese_clip` or `safety`.

    Raises:
        UserError: naming the file that is missing, malformed or of another network.
    """
    if kind not in KINDS:
        raise UserError(f"{path}: kind {kind!r}: expected one of {', '.join(KINDS)}")
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; expected one of a {ARCHITECTURES[kind]}")
    component = open_component(path, kind, None)
    if component.layout.linear_in_out:
        raise UserError(f"{component.files[0]}: in Paddle's form; expected weights of PyTorch")
    component = replace(component, layout=_LAYOUTS[kind])
    refuse_integers(component)
    with naming(component.config_path):
        config = judge_config(component.config, kind)
    check_shapes(component, config)
    settings_path = _settings_path(path, kind)
    with naming(settings_path):
        preparation = Preparation.from_dict(read_json(settings_path), square=kind == "chinese_clip")
        side = config.vision.image_size
        if preparation.result != (side, side):
            raise UnsupportedConfig(
                f"makes pictures of {_sides(preparation.result)}: expected {side}x{side}, "
                f"vision_config.image_size of {component.config_path}"
            )
    vocabulary = TokenizerFiles.in_folder(path) if config.text else None
    files = JudgeFiles(kind, component, config, preparation, settings_path, vocabulary)
    if vocabulary:
        check_vocabulary(vocabulary, files.tokenizer(), config, component.config_path)
    return files


def _settings_path(path: Path, kind: str) -> Path:
    """Where a picture's preparation is described; in pipelines the safety checker's is apart."""
    beside = path / _SETTINGS
    if kind != "safety" or beside.exists():
        return beside
    return path.absolute().parent / "feature_extractor" / _SETTINGS


def _sides(size: tuple[int, int] | None) -> str:
    return "any size" if size is None else "x".join(map(str, size))
