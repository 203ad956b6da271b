"""The two tokenizers, built from the captions and written in the formats public checkpoints use.

They hold only what the captions need. (The module is not called `tokenizers`, because that is
the name of a package `transformers` imports.)
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .world import COLORS_ZH, SHAPES_ZH, caption_en, sample_scene

CLIP_LENGTH = 77
BERT_LENGTH = 40

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
# Letters in runs, punctuation one by one: what CLIP's own pattern does to captions like these.
WORD_PATTERN = re.compile(r"[a-z]+|[^\s\w]")

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
ZH_EXTRA = "小大左边右上方下背景的在一个位于是，。、有和"
ASCII_EXTRA = "0123456789abcdefghijklmnopqrstuvwxyz"

Pair = tuple[str, str]


@dataclass(frozen=True)
class ClipVocabulary:
    """A byte-pair vocabulary: token -> id, and pair -> rank, lower ranks being merged first."""

    ids: dict[str, int]
    ranks: dict[Pair, int]

    def encode(self, text: str, length: int = CLIP_LENGTH) -> list[int]:
        """Turn text into `length` ids: start, words, end, then padded with further ends."""
        words = WORD_PATTERN.findall(text.lower())
        body = [self.ids[token] for word in words for token in self._split(word)]
        ids = [self.ids[BOS], *body[: length - 2], self.ids[EOS]]
        return ids + [self.ids[EOS]] * (length - len(ids))

    def _split(self, word: str) -> list[str]:
        """Byte-pair encode one word: merge the best known pair until none is left."""
        symbols = _spell(word)
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, float("inf")))
            if best not in self.ranks:
                break
            at = pairs.index(best)
            symbols[at : at + 2] = ["".join(best)]
        return symbols

    def save(self, folder: Path) -> None:
        """Write vocab.json, merges.txt and the two small config files into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        special = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
        config = {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": CLIP_LENGTH,
            "do_lower_case": True,
            "errors": "replace",
            "add_prefix_space": False,
            **special,
        }
        merges = [" ".join(pair) for pair in self.ranks]
        _write(folder / "vocab.json", json.dumps(self.ids, ensure_ascii=False))
        _write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
        _write(folder / "special_tokens_map.json", json.dumps(special))
        _write(folder / "tokenizer_config.json", json.dumps(config, indent=1))


@dataclass(frozen=True)
class BertVocabulary:
    """A vocabulary of single characters: token -> id."""

    ids: dict[str, int]

    def encode(self, text: str, length: int = BERT_LENGTH) -> list[int]:
        """Turn text into `length` ids: [CLS], one per character, [SEP], then [PAD]."""
        unknown = self.ids[UNK]
        body = [self.ids.get(character, unknown) for character in text.lower()]
        ids = [self.ids[CLS], *body[: length - 2], self.ids[SEP]]
        return ids + [self.ids[PAD]] * (length - len(ids))

    def save(self, folder: Path) -> None:
        """Write vocab.txt and tokenizer_config.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "model_max_length": BERT_LENGTH,
            "tokenize_chinese_chars": True,
            "pad_token": PAD,
            "unk_token": UNK,
            "cls_token": CLS,
            "sep_token": SEP,
            "mask_token": MASK,
        }
        _write(folder / "vocab.txt", "\n".join(self.ids) + "\n")
        _write(folder / "tokenizer_config.json", json.dumps(config, indent=1))


def build_clip_vocabulary(captions: int = 4000, max_merges: int = 400) -> ClipVocabulary:
    """Learn a byte-pair vocabulary from random English captions, always the same ones."""
    rng = random.Random(5)
    counts: Counter[str] = Counter()
    for _ in range(captions):
        scene = sample_scene(rng)
        counts.update(WORD_PATTERN.findall(caption_en(scene, rng)))
    merges = learn_merges(counts, max_merges)
    alphabet = byte_alphabet()
    tokens = [
        *alphabet,
        *(character + WORD_END for character in alphabet),
        *("".join(pair) for pair in merges),
        BOS,
        EOS,
    ]
    return ClipVocabulary(_numbered(tokens), {pair: rank for rank, pair in enumerate(merges)})


def build_bert_vocabulary() -> BertVocabulary:
    """Collect the special tokens and every character a Chinese caption can hold."""
    names = [*COLORS_ZH.values(), *SHAPES_ZH.values(), ZH_EXTRA, ASCII_EXTRA]
    return BertVocabulary(_numbered([PAD, UNK, CLS, SEP, MASK, *sorted(set("".join(names)))]))


def byte_alphabet() -> list[str]:
    """One printable character per byte, in the order GPT-2 and CLIP list them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    # Control characters and blanks would be unreadable in a file, so they get codes above 255.
    stand_ins = range(256, 256 + 256 - len(printable))
    return [chr(code) for code in (*printable, *stand_ins)]


def learn_merges(counts: Counter[str], max_merges: int) -> list[Pair]:
    """Find the most frequent neighbours in words again and again; ties go to the first in order."""
    spellings = {word: _spell(word) for word in counts}
    merges: list[Pair] = []
    while len(merges) < max_merges:
        pairs: Counter[Pair] = Counter()
        for word, symbols in spellings.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:  # every word has become one token
            break
        best = max(sorted(pairs), key=lambda pair: pairs[pair])
        merges.append(best)
        spellings = {word: _merge(symbols, best) for word, symbols in spellings.items()}
    return merges


def _merge(symbols: Sequence[str], pair: Pair) -> list[str]:
    """Join every occurrence of `pair`, from left to right."""
    merged: list[str] = []
    at = 0
    while at < len(symbols):
        width = 2 if tuple(symbols[at : at + 2]) == pair else 1
        merged.append("".join(symbols[at : at + width]))
        at += width
    return merged


def _spell(word: str) -> list[str]:
    """The characters of a word, the last one marked as its end."""
    return [*word[:-1], word[-1] + WORD_END]


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: index for index, token in enumerate(tokens)}


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8"))  # bytes: the files are the same on every system
