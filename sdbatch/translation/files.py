"""Open a Marian folder: everything that can be refused is refused here. Imports no Paddle.

config.json  generation_config.json?  tokenizer_config.json?
source.spm  target.spm  vocab.json  pytorch_model.bin or model.safetensors
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from sdbatch.errors import UserError, one_line
from sdbatch.translation.config import (
    MarianConfig,
    SearchConfig,
    Settings,
    network_config,
    search_config,
)
from sdbatch.translation.tokenizer import END, PADDING, UNKNOWN, MarianTokenizer
from sdbatch.weights.checkpoint import Component, file_sha256, read_json
from sdbatch.weights.folder import open_component

_FLOATS = ("F64", "F32", "F16", "BF16")
_READ = ("source.spm", "target.spm", "vocab.json")
_SPECIAL = {"eos_token": END, "unk_token": UNKNOWN, "pad_token": PADDING}
_MOST = 512
"""Tokens that `MarianTokenizer` reads where nothing else is said."""


@dataclass(frozen=True)
class TranslatorFiles:
    """An opened folder.

    Attributes:
        path: of the folder.
        network: sizes of the network.
        search: how translations are looked for.
        tokenizer: of both languages.
        weights: where the tensors lie.
    """

    path: Path
    network: MarianConfig
    search: SearchConfig
    tokenizer: MarianTokenizer
    weights: Component

    @cached_property
    def name(self) -> str:
        """The folder's own name, for metadata."""
        return self.path.resolve().name

    @cached_property
    def sha256(self) -> str:
        """Digest over everything that shapes a translation: settings, vocabularies, weights."""
        settings = {
            "network": asdict(self.network),
            "search": asdict(self.search),
            "tokens": [self.tokenizer.max_length, self.tokenizer.clean_up],
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name in _READ:
            digest.update(f"\n{name}:{file_sha256(self.path / name)}".encode())
        for content in sorted(map(file_sha256, self.weights.files)):
            digest.update(f"\nweights:{content}".encode())
        return digest.hexdigest()


def open_translator(path: Path) -> TranslatorFiles:
    """Check that a folder is a whole Marian model as transformers writes them.

    Only configs, vocabularies and the weights' headers are read.

    Raises:
        UserError: a file is missing, malformed or of something else; one line with the file, what
            was expected and what was found.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; expected a translator, a MarianMTModel's folder")
    config = Settings(path / "config.json", read_json(path / "config.json"))
    network = network_config(config)
    search = search_config(config, _optional(path / "generation_config.json"))
    files = TranslatorFiles(
        path,
        network,
        search,
        _tokenizer(path, network.max_position_embeddings, network.vocab_size),
        open_component(path, "translator", None),
    )
    for name, number in ((END, search.eos), (PADDING, search.pad)):
        if files.tokenizer.ids[name] != number:
            where, found = path / "vocab.json", files.tokenizer.ids[name]
            raise UserError(f"{where}: {name}: expected {number} as in the config, found {found}")
    for key, place in files.weights.places.items():
        if place.dtype not in _FLOATS:
            raise UserError(
                f"{place.file.path}: {one_line(key)}: expected a dtype of {', '.join(_FLOATS)}, "
                f"found {place.dtype}"
            )
    return files


def _tokenizer(path: Path, positions: int, vocab_size: int) -> MarianTokenizer:
    settings = _optional(path / "tokenizer_config.json")
    settings = settings or Settings(path / "tokenizer_config.json", {})
    settings.require(
        {
            "separate_vocabs": (False,),
            "sp_model_kwargs": (None, {}),
            "do_lower_case": (False,),
            "split_special_tokens": (False,),
            "additional_special_tokens": (None, []),
        }
    )
    _refuse_added(path, settings)
    length = settings.get("model_max_length", _MOST)
    if type(length) not in (int, float) or length < 2:
        raise settings.refuse("model_max_length", "at least 2", length)
    return MarianTokenizer(
        _pieces(path / "source.spm"),
        _pieces(path / "target.spm"),
        _vocabulary(path / "vocab.json", vocab_size),
        int(min(length, positions)),
        settings.flag("clean_up_tokenization_spaces", False),
    )


def _refuse_added(path: Path, settings: Settings) -> None:
    """Other special tokens, and words that were added later, would be cut into pieces."""
    for file in (settings, _optional(path / "special_tokens_map.json")):
        for key, expected in _SPECIAL.items():
            value = file.get(key, expected) if file else expected
            if (value.get("content") if isinstance(value, dict) else value) != expected:
                raise file.refuse(key, expected, value)
    table = settings.get("added_tokens_decoder", {})
    for entry in table.values() if isinstance(table, dict) else [table]:
        content = entry.get("content") if isinstance(entry, dict) else entry
        strips = isinstance(entry, dict) and any(map(entry.get, ("lstrip", "rstrip")))
        if content not in _SPECIAL.values() or strips:
            expected = " ".join(_SPECIAL.values())
            raise settings.refuse("added_tokens_decoder", f"only {expected}", entry)
    added = _optional(path / "added_tokens.json")
    for word in added.raw if added else ():
        if word not in _SPECIAL.values():
            raise added.refuse(one_line(word), "no added words", added.raw[word])


def _vocabulary(path: Path, vocab_size: int) -> dict[str, int]:
    ids = read_json(path)
    for piece, number in ids.items():
        if type(number) is not int or not 0 <= number < vocab_size:
            raise UserError(
                f"{path}: {one_line(piece)}: expected an id below vocab_size={vocab_size}, "
                f"found {one_line(number)[:100]}"
            )
    for name in (END, UNKNOWN, PADDING):
        if name not in ids:
            raise UserError(f"{path}: expected {name}, found {len(ids)} other pieces")
    return ids


def _pieces(path: Path) -> SentencePieceProcessor:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        if not content:  # which the library takes for no model at all
            raise RuntimeError
        return SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        found = f"{len(content)} bytes of something else"
        raise UserError(f"{path}: expected a SentencePiece model, found {found}") from error


def _optional(path: Path) -> Settings | None:
    return Settings(path, read_json(path)) if path.exists() else None
