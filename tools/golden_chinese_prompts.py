"""The prompts of `golden_chinese.py`: Chinese, as people write them and as nobody does."""

from __future__ import annotations

import random
from collections.abc import Sequence

COUNT = 2000
SEED = 20261203

HARD = [
    "",
    " ",
    "\u3000",
    "\n\t \r\n\u3000",
    "一只戴着红色帽子的猫坐在窗台上，看着外面的雪",
    "小桥流水人家，水彩",
    "小桥流水人家，Van Gogh style",
    "飞流直下三千尺，油画；唯美、插画。",
    "君不见黄河之水天上来，奔流到海不复回。",
    "繁體中文：龍門吊、臺灣、雞蛋；简体中文：龙门吊、台湾、鸡蛋",
    "ＡＢＣ　ａｂｃ　１２３　！？，．（）［］｛｝＜＞～＠＃＄％＾＆＊＿＋＝｜",
    "ｱｲｳ ｶﾞｷﾞ ﾊﾟ 半角カナ ㍿ ㌔ ㍍ ㎏ ℃ № ™ ① ⑳ ㊗ ㈱ Ⅳ ½ ² ﬁ",
    "𠮷野家 𡨸喃 𪚥 㐂 𠀋 𫝀 𬺰 𰻝 豈 更 車 中\u0301文 〇 〡 ⺀ ⼀ ㄅㄆㄇ",
    "龘龖齉爨麤籲灪麣鸜讟钃厵靐龗齾",
    "中文和English混合mixed文本123数字abc中1文2",
    "红色的cat，blue的狗，зелёный鱼，빨간 새，赤い花",
    "🎨画🎨画 👍🏽 👨‍👩‍👧‍👦一家人 🏳️‍🌈 🇨🇳🇫🇷 ❤️ 1️⃣ 🧧🐉🥮",
    "“双引号”‘单引号’「直角」『双直角』《书名》〈单书名〉【方头】〔六角〕〖〗——……·～",
    "a\u200b红\u200c色\u200d的\u2060圆\ufeff形soft\u00ad红\u034f",
    "红\u00a0色\u1680的\u2003圆\u2028形\u2029在\u202f白\u205f色\u3000上\u0085面\u000b和\u000c下",
    "红\x00色\x01的\x1c圆\x1d形\x1e在\x1f上\x7f面\x80里\x9f",
    "红\ufffd色\ue000的\U000f0000圆\ufdd0",
    "e\u0301 o\u0308 が か\u3099 \u1100\u1161\u11a8 각 Å Å ﬀ ß İ ı Σς",
    "<s> </s> <pad> <unk> <mask> 红色 <s>红</s> a<mask>b a <mask> b <mask",
    "  <mask>  红  <mask>\u3000<mask>\t<mask>\x1c<mask>",
    "<S> </S> <PAD> ＜s＞ <s<s>> <<pad>> </s</s>",
    "[UNK] [CLS] [SEP] [PAD] [MASK] 红[SEP]色 [sep] ［SEP］",
    "<|startoftext|> 红色的猫 <|endoftext|> 狗<|endoftext|>",
    "(杰作:1.2)，((最高质量))，[模糊]，\\(括号\\)，BREAK，<lora:风格:0.8>",
    "https://例子.中国/路径?b=c 邮箱@例子.com 8K超清 f/1.8 ISO-100 1girl",
    "的" * 200,
    "红色的五角星，" * 40,
    "🐱" * 90,
    "龘" * 150,
    "\u0301" * 60,
    "\u4e00" * 150,
    "红 " * 100,
    "红\n" * 100,
    "a" * 300,
    "▁红▁色 ▁ ▁▁ _",
]

_STYLES = (
    "水墨画|工笔画|油画|水彩|剪纸|像素画|浮世绘|赛博朋克|敦煌壁画|摄影作品|3D渲染|素描|版画|年画"
)
_ADJECTIVES = "红色的|金色的|古老的|透明的|巨大的|小小的|发光的|破旧的|精致的|朦胧的|喜庆的|孤独的"
_SUBJECTS = (
    "龙|凤凰|熊猫|锦鲤|古寺|高楼大厦|江南水乡|长城|茶壶|灯笼|宇航员|老渔夫|狐狸|机器人|舞者|牡丹"
    "|竹林|瀑布|雪山|夜市|旗袍少女|白鹤|石狮子|火锅|月饼|风筝|帆船|麒麟"
)
_PLACES = (
    "在云海之上|在雨后的街道|在月光下|在敦煌|在火星上|在竹林深处|在故宫门前|在海边|在书房里"
    "|在除夕夜|在黄浦江畔|在太空站"
)
_EXTRAS = (
    "8K超清|细节丰富|柔和光线|电影质感|唯美|大师之作|虚化背景|高对比度|trending on artstation"
    "|best quality|广角镜头|体积光|（4k）|16:9|2024年"
)
_COMMON = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说"
    "产种面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使"
    "点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看"
)
_ALPHABETS = (
    _COMMON,
    _COMMON + "，。、；：？！“”（）《》—…·　 ",
    "龍鳳門臺灣雞蛋鐵觀燈籠風箏車馬書畫長愛雲電腦學習國東漢語龘靐齉爨麤籲灪麣鸜讟钃厵",
    "ＡＢＣｘｙｚ１２３！？，．（）：；／　中文",
    "あいうえおかがさざきゃっョアイウガギグーｱｲｳﾞ漢字仮名交",
    "가나다라마바사한국어 그림 빨간",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,.!?'-红蓝",
    "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВ 画 αβγδΣς éèüñçÅ",
    "😀😂🥰🤖👻🎃🐶🐱🦊🐼🍎🍜🧧🐉🏮🥮🏠🚗✈🚀🌈🌊🔥⭐🎨☀☁☂☃♥♦♣♠\u200d\ufe0f🏻🏽🏿画",
    "\u00a0\u2003\u2028\u200b\u200d\u3000\ufeff\x00\x0b\x1c\x1f\x7f\x85\n\t 红蓝ab1",
    "㍿㌔㍍㎏℃№™①⑳㊗㈱ⅣⅫ½²ﬁﬀ\u0301\u0308\u3099中か",
)
_TOKENS = (
    *("<s>", "</s>", "<pad>", "<unk>", "<mask>", "[SEP]", "[MASK]", "<|endoftext|>"),
    *(" ", "  ", "\u3000", "红", "色的", "a", "!", "，", "<", "▁"),
)
_RARE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFC),
    (0x4E00, 0x9FFC),
    (0xF900, 0xFA6D),
    (0x20000, 0x2A6DD),
    (0x2A700, 0x2B734),
    (0x2E80, 0x2E99),
    (0x2F00, 0x2FD5),
    (0x3105, 0x312F),
    (0x3200, 0x33FF),
    (0xFF01, 0xFFEE),
)


def prompts() -> list[str]:
    """All prompts; the same in every run."""
    generator = random.Random(SEED)
    makers = (_sentence, _sentence, _sentence, _letters, _letters, _mixture, _rare, _special)
    found = list(HARD)
    while len(found) < COUNT:
        found.append(generator.choice(makers)(generator))
    return found


def sentences(count: int) -> list[str]:
    """Prompts as people write them, others than those of `prompts`: a tokenizer's own text."""
    generator = random.Random(SEED + 1)
    return [(_sentence, _mixture)[i % 4 == 0](generator) for i in range(count)]


def _sentence(generator: random.Random) -> str:
    several = []
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        what = _one(generator, _ADJECTIVES) + _one(generator, _SUBJECTS)
        parts = [_one(generator, _STYLES), what, _one(generator, _PLACES), _one(generator, _EXTRAS)]
        several.append(generator.choice(("，", "，", "", " ", ", ", "、")).join(parts))
    return generator.choice(("，", "。", "；", " ")).join(several)


def _one(generator: random.Random, words: str) -> str:
    return generator.choice(words.split("|"))


def _letters(generator: random.Random) -> str:
    alphabet = "".join(generator.sample(_ALPHABETS, generator.randint(1, 2)))
    return "".join(generator.choices(alphabet, k=generator.choice((3, 6, 12, 24, 48, 110))))


def _mixture(generator: random.Random) -> str:
    parts = [_some(generator, generator.choice(_ALPHABETS)) for _ in range(generator.randint(2, 8))]
    return generator.choice(("", " ", "，", "\u3000")).join(parts)


def _some(generator: random.Random, alphabet: Sequence[str]) -> str:
    return "".join(generator.choices(alphabet, k=generator.randint(1, 8)))


def _rare(generator: random.Random) -> str:
    """Characters that few fonts have, among common ones."""
    rare = [chr(generator.randint(*generator.choice(_RARE))) for _ in range(8)]
    return _some(generator, [*rare, *generator.choices(_COMMON, k=4)]) + generator.choice(rare)


def _special(generator: random.Random) -> str:
    return "".join(generator.choices(_TOKENS, k=generator.randint(1, 16)))


def bert_words() -> list[str]:
    """A vocabulary for BERT: all common characters, pieces of words, not the rare ones."""
    text = "".join(_ALPHABETS[i] for i in (0, 1, 2, 4, 5, 6, 7, 8))
    text += "".join((_STYLES, _ADJECTIVES, _SUBJECTS, _PLACES, _EXTRAS)).lower()
    alone = sorted({character for character in text.lower() if not character.isspace()})
    pieces = [f"##{character}" for character in alone if not "\u4e00" <= character <= "\u9fff"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [
        *special,
        *alone,
        *pieces,
        "cat",
        "best",
        "qual",
        "##ity",
        "english",
        "##ed",
        "한국",
        "##어",
    ]


def added_words() -> list[str]:
    """Characters and words that a bilingual CLIP might have beyond OpenAI's vocabulary."""
    words = [_STYLES.split("|")[0], "宇航员", "龙凤", "龙", "凤", "<风格>", "Van Gogh"]
    return [*words, *sorted({*_COMMON})]
