"""The prompts of `golden_text.py`: written by hand, and made from a seed."""

from __future__ import annotations

import csv
import random
import unicodedata
from pathlib import Path

PROMPTS = Path(__file__).resolve().parent.parent / "prompts"
COUNT = 2000
SEED = 20261125

HARD = [
    "",
    " ",
    "\n\t \r\n",
    "a photo of an astronaut riding a horse on mars",
    "A PHOTO of a Cat, sitting; on: a (red) [chair] {and} <more>",
    "don't can't won't you're I'm they'll we've she'd 'tis rock'n'roll DON'T YOU'RE I'M",
    "it''s 'S 'T 'RE 'VE 'M 'LL 'D d'll 's't're x'\u2019s \u2018t",
    "0 1 12 123 1234567890 3.14159 1,000,000 ½ ² Ⅳ ٣ ۴ 五 ๔ ①",
    "!!! ??? ... ,,, -- ___ *** ### @@@ $$$ %%% ^^^ &&& +++ === ~~~ ``` ||| \\\\\\ ///",
    "a!! b!!!c !d! e !!! f",
    "!" * 200,
    "a! " * 90,
    "<|startoftext|> a cat <|endoftext|> a dog",
    "<|STARTOFTEXT|> a cat <|EndOfText|> a dog",
    "<|endoftext|><|endoftext|><|startoftext|>!!<|endoftext|>!!",
    "x<|endoftext|>y <|endoftext |> <| endoftext|> <|endoftext<|endoftext|>|>",
    "!!<|ENDOFTEXT|>!! '<|endoftext|>'s ?<|StartOfText|>?!",
    "[UNK] [CLS] [SEP] [PAD] [MASK] a [SEP]b",
    "e\u0301 o\u0308 n\u0303 A\u030a c\u0327 \u1e9b\u0323 q\u0307\u0323 \u0301 a\u0301\u0301\u0301",
    "!\u0301 !\u0338 <|endoftext|>\u0301 =\u0338 <\u0338",
    "\u1100\u1161\u11a8 \uac01 \u3042\u3099 \u30ab\u3099 \uff76\uff9e",
    "Å Å Å \u212b \u2126 \u212a K Ω ﬁ ﬂ ﬀ ĳ ǆ ㎏ ™ ℃ ㍿",
    "İSTANBUL İ ı I i̇ ẞ ß SS ŉ ǰ ΐ ᾈ ᾳ ΌΣΟΣ ΣΑΣ Σ σς",
    "ＡＢＣ　ａｂｃ　１２３　！？，．（）［］",
    "水墨画风格的城市夜景，高楼大厦，霓虹灯，雨后的街道。（4k，超清）",
    "一只戴着红色帽子的猫坐在窗台上，看着外面的雪",
    "繁體中文：龍門吊、臺灣、雞蛋；简体中文：龙门吊、台湾、鸡蛋",
    "𠮷野家 𡨸喃 𪚥 㐂 豈 更 中\u0301文",
    "中文和English混合mixed文本123数字abc中1文2",
    "こんにちは世界 カタカナ ﾊﾝｶｸ がぎぐ ー〜 々〆ヶ",
    "안녕하세요 세계 ㄱㄴㄷ 훈민정음",
    "Привет, мир! Съешь же ещё этих мягких французских булок",
    "Γειά σου Κόσμε ΟΔΥΣΣΕΥΣ ὀδυσσεύς",
    "שָׁלוֹם עולם \u202eabc\u202c مَرْحَبًا بالعالم \u061c ١٢٣ پارسی‌نویسی",
    "नमस्ते दुनिया क्षत्रिय தமிழ் ไทยภาษา ລາວ မြန်မာ ខ្មែរ བོད་སྐད",
    "አማርኛ ქართული Ქართული հայերեն Հայերեն ᏣᎳᎩ ꮳꮃꭹ ᠮᠣᠩᠭᠣᠯ",
    "𝓯𝓪𝓷𝓬𝔂 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 Ⓐⓐ 🄰 🅰 ℌ 𐐀𐐨 𞤀𞤢",
    "🎨 🎨🎨🎨 a🎨b 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇨🇳🇫🇷 ❤️ ☺ ✌️ 1️⃣ #️⃣ 🐱‍👤 🧑🏻‍🚀",
    "a\u200bb a\u200cb a\u200db a\u2060b a\ufeffb soft\u00adhyphen a\u034fb \u180e \u2061",
    "a\u00a0b\u1680c\u2003d\u2028e\u2029f\u202fg\u205fh\u3000i\u0085j\u000bk\u000cl",
    "a\x00b\x01c\x1cd\x1de\x1ef\x1fg\x7fh\x80i\x9fj",
    "\ufffd \ufffe \uffff \ue000 \U000f0000 \U0010ffff \ufdd0",
    "&amp; &lt;b&gt; &quot;q&quot; &#39;x&#39; &nbsp; <p>html <b>bold</b></p>",
    "https://example.com/a?b=c&d=e#f someone@example.com C:\\dir\\file.txt ~/x.tar.gz",
    "under_score __init__ camelCase kebab-case 1girl 8k UHD f/1.8 85mm ISO-100 24fps",
    "(masterpiece:1.2), ((best quality)), [blurry], <lora:style:0.8>, BREAK, AND :: |",
    "“double” „low“ «guillemets» ‘single’ ‹x› — – ‐ ‑ ‒ ― … · • † ‡ ※ § ¶ © ® ° ± × ÷ ≠ ≈ ∞",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "a" * 300,
    "ab" * 200,
    "ha" * 100 + " " + "HA" * 100,
    "qwertyuiopasdfghjklzxcvbnm" * 10,
    "a photo of a cat, " * 40,
    "cat " * 76,
    "红色的五角星，" * 40,
    "🐱" * 90,
    "é" * 120,
    "\u0301" * 60,
    "\u4e00" * 150,
    "word\n" * 100,
]

# The syntax of weights. Not here: what goes wrong in the web UI (see sdbatch/text/syntax.py).
SYNTAX = [
    "",
    " ",
    "normal text",
    "an (important) word",
    "(unbalanced",
    "unbalanced)",
    "[unbalanced",
    "unbalanced]",
    "\\(literal\\]",
    "(unnecessary)(parens)",
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
    "(a:1.5) (b: 0.7 ) (c:-1) (d:+2.) (e:.5) (f:1e3) (g:) (h:x) j:1.3)",
    "((a:1.2) b:1.3) ((c)) [[d]] ([e]) [(f)] (g [h) i] j",
    "[a:b:0.5] [c|d] (e|f:1.2) (g:h:1.4)",
    "a:b::c : d:1.2",
    "( ) () [] (:1.2) [:1.2] ((())) [[[",
    "\\\\(a\\\\) \\a \\ b\\",
    "a BREAK b",
    "BREAK a BREAK BREAK b BREAK",
    "aBREAK BREAKb break a\nBREAK\tb xBREAKx BREAK,",
    "(a:1.3) BREAK (b:0.9), c",
    "水墨画（风格）(红色:1.3)[蓝色] 🎨(🐱)",
    "(multi\nline:1.2)\n[x\ny]",
    "(masterpiece:1.2), ((best quality)), [blurry], <lora:style:0.8>, (x:1.0)",
]

_STYLES = "oil painting|watercolour|35mm photograph|ink drawing|3D render|pixel art|anime"
_SUBJECTS = "astronaut|old fisherman|red fox|cathedral|tea pot|Chinese dragon|robot|ballet dancer"
_PLACES = "in Zürich|on Mars|under water|at dusk|beside a café|in São Paulo|on a street|在北京"
_EXTRAS = "4k|8K UHD|highly detailed|f/1.8|trending|soft light|(best quality)|it's raining|2024"
_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz      ",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz 0123456789 .,!?'\"-:;()",
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能",
    "éèêëàâäôöùûüçñßøåæœšžčřýáíóúąęłńśźż ÉÈÀÖÜÇÑØÅÆİıŉ",
    "αβγδεζηθικλμνξοπρσςτυφχψω ΑΒΓΔΕΣ абвгдежзийклмнопрстуфхцчшщ АБВГДЖ",
    "אבגדהוזחטיכלמנסעפצקרשת ابتثجحخدذرزسشصضطظعغفقكلمنهوي ًٌٍَُِّ",
    "अआइईउऊएऐओऔकखगघचछजझटठडढतथदधनपफबभमयरलवशषसह ािीुूेैोौ् กขคงจฉชซญดตถทนบปผฝพฟภมยรลวศษสหอ ิีึืุู่้",
    "あいうえおかきくけこさしすせそがぎぐげご アイウエオカキクケコ ー、。 가나다라마바사아자차",
    "😀😂🥰🤖👻🎃🐶🐱🦊🐼🍎🍕🏠🚗✈🚀🌈🌊🔥⭐🎨🎵☀☁☂☃♥♦♣♠\u200d\ufe0f🏻🏽🏿",
    "!?.,;:'\"()[]{}<>/\\|@#$%^&*-_=+~` aB1",
    "'sSTtrREveVEmMllLLdD ' '' ",
    "\u0300\u0301\u0302\u0303\u0308\u030a\u0323\u0327\u0338 aeoncAEONC=<!",
    "\u00a0\u1680\u2003\u2028\u200b\u200d\u3000\ufeff\x00\x0b\x0c\x1c\x1f\x7f\x85\n\t ab1!",
)
_TOKENS = (
    "<|endoftext|>",
    "<|startoftext|>",
    "<|EndOfText|>",
    "!",
    "!!",
    " ",
    "'s",
    "a",
    "é",
    "红",
)


def prompts() -> list[str]:
    """All prompts; the same in every run."""
    found = list(HARD)
    for path in sorted(PROMPTS.glob("*.csv")):
        with path.open(encoding="utf-8") as file:
            found += [row["prompt"] for row in csv.DictReader(file)]
    generator = random.Random(SEED)
    makers = (_sentence, _letters, _letters, _mixture, _anything, _special)
    while len(found) < COUNT:
        found.append(generator.choice(makers)(generator))
    return found


def _sentence(generator: random.Random) -> str:
    """As people write prompts; some are long."""
    parts = (_STYLES, _SUBJECTS, _PLACES, _EXTRAS)
    several = [
        " ".join(generator.choice(part.split("|")) for part in parts)
        for _ in range(generator.choice((1, 1, 1, 2, 4, 9)))
    ]
    text = generator.choice((", ", ". ", "; ", " and ")).join(several)
    return generator.choice((str, str.upper, str.title))(text)


def _letters(generator: random.Random) -> str:
    alphabet = "".join(generator.sample(_ALPHABETS, generator.randint(1, 2)))
    return "".join(generator.choices(alphabet, k=generator.choice((3, 6, 12, 24, 48, 120))))


def _mixture(generator: random.Random) -> str:
    return generator.choice(("", " ", ", ")).join(
        "".join(generator.choices(generator.choice(_ALPHABETS), k=generator.randint(1, 8)))
        for _ in range(generator.randint(2, 8))
    )


def _anything(generator: random.Random) -> str:
    """Any characters that Unicode had assigned by version 13, which Python 3.10 knows."""
    length, found = generator.randint(1, 24), []
    while len(found) < length:
        character = chr(generator.randrange(generator.choice((0x250, 0x3000, 0xFFFF, 0x1FFFF))))
        if unicodedata.category(character) not in ("Cn", "Cs"):
            found.append(character)
    return "".join(found)


def _special(generator: random.Random) -> str:
    return "".join(generator.choices(_TOKENS, k=generator.randint(1, 20)))
