"""Write CLIP's vocabulary, and record what PyTorch's tokenizer makes of it, for the tests.

All Stable Diffusions share the vocabulary of OpenAI's CLIP, which single-file checkpoints lack.
CLIP's source and OpenCLIP's package hold it as a list of merges, `bpe_simple_vocab_16e6.txt.gz`.
Run in an environment with transformers (not sdbatch's own):

    pip install transformers
    python tools/clip_vocabulary.py bpe_simple_vocab_16e6.txt.gz

Writes sdbatch/assets/clip_tokenizer/ and tests/golden/clip_ids.json.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import shutil
import tempfile
from pathlib import Path

import transformers
from transformers import CLIPTokenizer

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "sdbatch" / "assets"
SIZE = 49408
START, END = "<|startoftext|>", "<|endoftext|>"
# The tokenizers whose padding differs: "!" is one token of two kinds where it is the padding too.
PADDINGS = {"end": "sd1/tokenizer", "exclamation": "sd2/tokenizer"}
TABLES = {"news_2026.csv": 24, "shapes.csv": 16, "shapes_zh.csv": 16}
RANDOM = 181
# One known difference is left out: Python (so PaddleNLP, and OpenAI's own tokenizer) lowers a
# Greek sigma at a word's end to its final form, transformers does not.
TEXTS = [
    "",
    " ",
    "\n\t ",
    "a photo of a cat",
    "A Photo Of A CAT",
    "  a   photo\tof\na cat  ",
    "a photo of a cat!",
    "!",
    "!!",
    "a !! b!!!c ! ?!",
    "wow!!!!!!! (so) [many] {brackets} <tags> /slashes\\ |pipes|",
    "don't can't won't you're I'm they'll we've she'd 'tis rock'n'roll",
    "it''s 'S 'T 'RE 'd'll",
    "3.14159, 1,000,000 and 50% of $20 + 7 = 42; #1 @home & co. ^_^ ~~ ``x``",
    "2024-11-23T10:15:30Z 4k 8K UHD f/1.8 85mm ISO100",
    "e-mail: someone@example.com https://example.com/a?b=c&d=e#f",
    "under_score __init__ snake_case kebab-case camelCase",
    "...ellipsis... — em dash – en dash ‘single’ “double” „low“ «guillemets» ‹x›",
    "café naïve déjà-vu façade Ångström Zürich São Paulo",
    "cafe\u0301 nai\u0308ve (decomposed) A\u030angstrom",
    "ÀÉÎÕÜ ß ẞ İstanbul ıI ŁÓDŹ",
    "straße STRASSE ﬁne ﬂow Ⅳ ½ ² ™ ℃ ㎏",
    "Привет, мир! Как дела?",
    "Γειά σου Κόσμε ΟΔΥΣΣΕΑ",
    "שלום עולם مرحبا بالعالم",
    "नमस्ते दुनिया สวัสดีชาวโลก",
    "こんにちは世界、カタカナ ﾊﾝｶｸ がぎぐ は\u3099",
    "안녕하세요 세계 \u1112\u1161\u11ab",
    "水墨画风格的城市夜景",
    "一只猫，坐在红色的椅子上。（正面）【特写】《标题》“引号”！",
    "中文和English混合mixed文本123数字",
    "繁體中文：龍門吊、臺灣、雞蛋",
    "全角ＡＢＣ１２３！？　空格",
    "𠮷野家 𝓯𝓪𝓷𝓬𝔂 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "🎨",
    "emoji 🐱 cat 👨‍👩‍👧‍👦 family 🇨🇳 flag 👍🏽 hand ❤️ heart ☺ ✌️",
    "🎨🎨🎨 🚀to the🌕",
    "(masterpiece:1.2), ((best quality)), [blurry], 1girl, solo, <lora:style:0.8>",
    "cat:dog AND bird | fish :: 0.5",
    "start <|startoftext|> middle <|endoftext|> end",
    "<|endoftext|>",
    "<|endoftext|><|endoftext|> x <|STARTOFTEXT|> < |endoftext| >",
    "&amp; &lt;b&gt; &quot;quoted&quot; &#39;x&#39;",
    "<p>html <b>bold</b></p>",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "qwxzjk vvbnm zzzyx xkcd qqq",
    "0 00 000 0123456789",
    "a\u00a0b\u2003c\u200bd\u3000e\ufefff",
    "soft\u00adhyphen zero\u200djoiner",
    "tab\tnewline\nreturn\r\nend",
    "- - -- --- ---- * ** *** # ## ###",
    "?! !? ... ,,, ;;; ::: ''' \"\"\"",
    "=_=+=-=(=)=",
    "a photo of a cat, " * 30,
    "cat " * 75,
    "cat " * 76,
    "cat " * 100,
    "红色的五角星，" * 40,
    "🐱" * 60,
    "!" * 120,
    "a! " * 60,
    "antidisestablishmentarianism " * 20,
]
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz     ",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz 0123456789 .,!?'\"-:;()",
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种",
    "éèêëàâäôöùûüçñßøåæœšžčřýáíóúąęłńśźż ÉÈÀÖÜÇÑØÅÆ",
    "😀😂🥰🤖👻🎃🐶🐱🦊🐼🍎🍕🏠🚗✈🚀🌈🌊🔥⭐🎨🎵 ☀☁☂☃♥♦♣♠",
    "!?.,;:'\"()[]{}<>/\\|@#$%^&*-_=+~` aB1",
)


def vocabulary(path: Path) -> tuple[list[str], list[str]]:
    """Tokens in the order of their ids, and the merges, best first."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    symbols = byte_symbols()
    # The file goes on with merges that CLIP does not use; its first line is a title.
    merges = lines[1 : SIZE - 2 * len(symbols) - 1]
    joined = ["".join(merge.split()) for merge in merges]
    return [*symbols, *(f"{s}</w>" for s in symbols), *joined, START, END], merges


def byte_symbols() -> list[str]:
    """A printable character for each byte: itself where it is one, else the next from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(others)]


def texts() -> list[str]:
    """Prompts of the bundled tables, hard cases, and random strings of several scripts."""
    found = list(TEXTS)
    for name, count in TABLES.items():
        with (ROOT / "prompts" / name).open(encoding="utf-8") as file:
            found += [row["prompt"] for row in csv.DictReader(file)][:count]
    generator = random.Random(1)
    while len(found) < len(TEXTS) + sum(TABLES.values()) + RANDOM:
        alphabet = "".join(generator.sample(ALPHABETS, generator.randint(1, 2)))
        length = generator.choice((3, 6, 12, 24))
        found.append("".join(generator.choice(alphabet) for _ in range(length)))
    return found


def ids_of(settings: Path, vocabulary_folder: Path, given: list[str]) -> list[list[int]]:
    """Ids of each text as transformers cuts them, up to the end token: without the padding."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (*settings.iterdir(), *vocabulary_folder.iterdir()):
            shutil.copy(path, folder)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    rows = tokenizer(given, padding="max_length", truncation=True, max_length=77)["input_ids"]
    for row in rows:
        while row[-1] == tokenizer.pad_token_id:
            row.pop()
        if row[-1] != tokenizer.eos_token_id:  # it was the padding too
            row.append(tokenizer.eos_token_id)
    return rows


def main() -> None:
    """Write the vocabulary and the golden ids."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("merges", type=Path, help="bpe_simple_vocab_16e6.txt.gz")
    tokens, merges = vocabulary(parser.parse_args().merges)
    assert len(tokens) == len(set(tokens)) == SIZE
    out = ASSETS / "clip_tokenizer"
    out.mkdir(exist_ok=True)
    # Byte for byte as in openai/clip-vit-large-patch14.
    ids = {token: i for i, token in enumerate(tokens)}
    (out / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    (out / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    given = texts()
    found = {
        name: ids_of(ASSETS / "families" / folder, out, given) for name, folder in PADDINGS.items()
    }
    rows = [
        {"text": text, "ids": end} | ({"padded_with_exclamation": other} if end != other else {})
        for text, end, other in zip(given, *found.values(), strict=True)
    ]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    head = f'"transformers": "{transformers.__version__}"'
    path = ROOT / "tests" / "golden" / "clip_ids.json"
    path.write_text(f'{{{head},\n"texts": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
