"""Words that were added to a tokenizer after its vocabulary was made. Imports no Paddle.

    added_tokens.json        {word: id}
    tokenizer.json           added_tokens: [settings]
    tokenizer_config.json    added_tokens_decoder: {id: settings}, from transformers 4.34 on

All list special tokens too. Of a word in several files the settings of the last count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError, one_line
from sdbatch.weights.checkpoint import TokenizerFiles, read_json


@dataclass(frozen=True)
class AddedToken:
    """One word.

    Attributes:
        id: its row in the text encoder's table.
        path: the file that lists it.
        normalized: whether it is looked for in the text as the tokenizer reads it.
        lstrip, rstrip: whether the blanks before and after it belong to it.
    """

    id: int
    path: Path
    normalized: bool
    lstrip: bool
    rstrip: bool


def added_tokens(given: TokenizerFiles) -> dict[str, AddedToken]:
    """Every word that the files list, by its text.

    Raises:
        UserError: a word without an id, or with two; one that is found only between blanks.
    """
    found: dict[str, AddedToken] = {}
    for path, word, settings in _listed(given):
        number = settings.get("id")
        where = f"{path}: {one_line(word)} ({one_line(number)})"
        if type(number) is not int or number < 0 or not word:
            raise UserError(f"{where}: expected a word and its number")
        if word in found and found[word].id != number:
            raise UserError(f"{where}: {found[word].path} says {found[word].id}")
        if settings.get("single_word"):
            raise UserError(f"{where}: single_word is not supported")
        found[word] = AddedToken(
            number,
            path,
            normalized=bool(settings.get("normalized", not settings.get("special", False))),
            lstrip=bool(settings.get("lstrip", False)),
            rstrip=bool(settings.get("rstrip", False)),
        )
    return found


def _listed(given: TokenizerFiles) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
    path = given.files.get("added_tokens.json")
    for word, number in (read_json(path) if path else {}).items():
        yield path, word, {"id": number}
    path = given.files.get("tokenizer.json")
    table = read_json(path).get("added_tokens") if path else None
    for entry in table if isinstance(table, list) else ():
        if isinstance(entry, dict):
            yield path, str(entry.get("content", "")), entry
    path = given.files.get("tokenizer_config.json")
    table = read_json(path).get("added_tokens_decoder") if path else None
    for number, entry in (table if isinstance(table, dict) else {}).items():
        if isinstance(entry, dict):
            number = int(number) if number.isdecimal() else number
            yield path, str(entry.get("content", "")), {**entry, "id": number}
