"""Record what transformers makes of Chinese texts with tiny MarianMT models, for the tests.

Run in an environment with torch, transformers and sentencepiece (not sdbatch's own):

    pip install torch transformers==4.46.3 sentencepiece safetensors
    python tools/golden_translation.py          # writes tests/golden/translation/

Two folders as the public ones are, networks and SentencePiece models trained on the prompt table:
`stored` (a pickle in float16 with positions and every copy of the embeddings, its
generation_config.json, which counts alone) and `computed` (safetensors with neither, configs as
they were before that file). Both learn for seconds only, so that texts end and differ: random
weights say one token again and again. Near ties are rare then; that none decides is checked, since
all ids must be the same in float64, else the tool fails and wants another seed.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "translation"
LENGTH = 40
STEPS = 400
STATES = 24
"""So many texts have their states recorded."""
SIZES = {
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": LENGTH,
}
# As converters wrote them, with keys that no program reads.
KEPT = {
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "normalize_before": False,
    "normalize_embedding": False,
    "static_position_embeddings": True,
    "share_encoder_decoder_embeddings": True,
    "architectures": ["MarianMTModel"],
}
FOLDERS = {
    "stored": {"activation_function": "swish", "scale_embedding": True},
    "computed": {"activation_function": "gelu", "scale_embedding": False, "num_beams": 1},
}
# Changes to generation_config.json by the folder's name; {}: the folder as it is.
SEARCHES = {
    "stored": [
        {},
        {"num_beams": 1, "renormalize_logits": False},
        {"num_beams": 3, "early_stopping": True, "length_penalty": 0.5},
        {"num_beams": 5, "early_stopping": "never", "length_penalty": 2.0},
        {"num_beams": 4, "early_stopping": "never", "length_penalty": -0.5},
        {"num_beams": 4, "forced_eos_token_id": None, "max_length": 12},
        {"num_beams": 2, "renormalize_logits": False, "max_length": 12},
    ],
    "computed": [{}],
}
HARD = [
    "",
    " ",
    "。",
    "！？；，、",
    "猫",
    "一只猫\n一只狗",
    "  前后有空格  ",
    "中文 mixed with English 词",
    "85mm f/1.8，4K，8K UHD",
    "全角ＡＢＣ１２３，半角ABC123",
    "🐱🐶 两只动物 👨‍👩‍👧",
    "繁體字：龍、鳳、龜",
    "日本語のテキスト",
    "한국어 텍스트",
    "生僻字：龘靐齉爩",
    "“引号”与‘引号’",
    "（括号：1.3）与(brackets:1.3)",
    "价格：￥100，$5.50，€3",
    ">>eng<< 一座桥",
    ">>xyz<< 一座桥",
    "桥 >>eng<< 在中间",
    "a >>b<< c >>d<< e",
    ">>eng<<",
    "句子</s>还有<unk>和<pad>",
    "</s>",
    "<pad>>>eng<<桥",
    "tab\t和\u3000全角空格\xa0不换行",
    "e\u0301 与 é，零宽\u200b空格",
    "……——～·",
    "100%纯棉 & 羊毛 #标签 @用户",
    "https://example.com/路径?查询=1",
    "A" * 60,
    "山" * 100,
    "山水，" * 40,
    "这里是第一句话，描述了山。这里是第二句话，描述了水！第三句话？第四句话；还有第五句话在这里。",
    "A sentence about a bridge. Another about a river! 第三句，中文，在新的一行。\n还有一行",
]


def main() -> None:
    """Write the golden files."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    shutil.rmtree(OUT, ignore_errors=True)
    rows = table()
    texts = chinese_texts(rows)
    record: dict = {"transformers": transformers.__version__, "texts": texts, "searches": []}
    states: dict[str, np.ndarray] = {}
    for seed, name in enumerate(FOLDERS):
        folder = OUT / name
        folder.mkdir(parents=True)
        pieces = write_vocabulary(folder, rows, name)
        network = tiny(
            seed, pieces, name, lessons_of(MarianTokenizer.from_pretrained(folder), rows)
        )
        write_folder(folder, network, name)
        network = MarianMTModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
        tokenizer = MarianTokenizer.from_pretrained(folder)
        ids = [tokenizer(text, truncation=True)["input_ids"] for text in texts]
        record[name] = {"ids": ids, "uncut": [len(tokenizer(text)["input_ids"]) for text in texts]}
        states |= recorded_states(name, network, ids[:STATES])
        for changes in SEARCHES[name]:
            found = translations(network, ids, changes)
            said = tokenizer.batch_decode(found, skip_special_tokens=True)
            record["searches"].append(
                {"folder": name, "changes": changes, "ids": found, "texts": said}
            )
            lengths = [len(each) for each in found]
            print(name, changes, f"lengths {min(lengths)}-{max(lengths)}, {np.mean(lengths):.1f}")
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (OUT / "translations.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    np.savez_compressed(OUT / "states.npz", **states)


def table() -> list[dict[str, str]]:
    """The prompt table."""
    with (ROOT / "prompts" / "news_2026.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def chinese_texts(rows: list[dict[str, str]]) -> list[str]:
    """Hard ones, the table's prompts, and clauses of these in any order."""
    generator = random.Random(1)
    prompts = [row["prompt"] for row in rows if row["language"] == "zh"]
    clauses = [clause for prompt in prompts for clause in prompt.split("，")]
    marks = ["，", "。", "，", "！", " ", "、"]
    mixed = [
        generator.choice(marks).join(generator.sample(clauses, generator.randint(1, 4)))
        for _ in range(50)
    ]
    return list(dict.fromkeys([*HARD, *prompts, *mixed]))


def write_vocabulary(folder: Path, rows: list[dict[str, str]], name: str) -> dict[str, int]:
    """Train both SentencePiece models; every twentieth piece of the source is left out."""
    sides = {
        "source": [row["prompt"] for row in rows],
        "target": [row["prompt_en"] or row["prompt"] for row in rows],
    }
    ids = {"</s>": 0, "<unk>": 1}
    for side, lines in sides.items():
        lines = [line for line in lines if line]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(folder / side),
            vocab_size=700 if side == "source" else 160,
            model_type="unigram" if name == "stored" else "bpe",
            character_coverage=0.98 if side == "source" else 1.0,
            normalization_rule_name="identity",
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=2,
        )
        (folder / f"{side}.vocab").unlink()
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        for i in range(3, model.get_piece_size()):
            if side == "target" or i % 20:
                ids.setdefault(model.id_to_piece(i), len(ids))
    if name == "stored":
        ids[">>eng<<"] = len(ids)
    ids["<pad>"] = len(ids)
    _write(folder / "vocab.json", ids)
    settings = {"source_lang": "zh", "target_lang": "en", "model_max_length": LENGTH}
    _write(folder / "tokenizer_config.json", settings)
    return ids


def tiny(seed: int, pieces: Mapping[str, int], name: str, lessons: list) -> MarianMTModel:
    """A network that has learned a little, so that its texts end, and differ."""
    torch.manual_seed(seed)
    pad = pieces["<pad>"]
    settings = {"num_beams": 4, "max_length": 28, "bad_words_ids": [[pad]]} | FOLDERS[name]
    config = MarianConfig(
        vocab_size=len(pieces),
        decoder_start_token_id=pad,
        pad_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=0,
        **SIZES,
        **KEPT,
        **settings,
    )
    network = MarianMTModel(config).eval()
    for weight in network.parameters():
        if weight.dim() > 1:
            weight.data = torch.randn(weight.shape) * 0.2
    for part in (network.model.encoder, network.model.decoder):
        # Stored ones are not what would be computed, so that it shows which were used.
        positions = part.embed_positions
        positions._init_weight(positions.weight)
        positions.weight.data *= 1.1 if name == "stored" else 1.0
    train(network, lessons)
    network.final_logits_bias = torch.randn(network.final_logits_bias.shape) * 0.1
    network.final_logits_bias[0, pad] = 50.0  # so that it shows whether it is barred
    return network


def lessons_of(tokenizer: MarianTokenizer, rows: list[dict[str, str]]) -> list:
    """Ids of the table's prompts and of their clauses in both languages."""
    pairs = []
    for row in rows:
        for key in ("prompt", "negative_prompt"):
            chinese, english = row[key], row[f"{key}_en"]
            if chinese and english:
                pairs.append((chinese, english))
                clauses = chinese.split("，"), english.split(", ")
                pairs += zip(*clauses, strict=True) if len(set(map(len, clauses))) == 1 else []
    found = [
        (tokenizer(a)["input_ids"], tokenizer(text_target=b)["input_ids"])
        for a, b in dict.fromkeys(pairs)
    ]
    return [(a, b) for a, b in found if max(len(a), len(b)) <= LENGTH]


def train(network: MarianMTModel, lessons: list) -> None:
    """A few passes over the lessons."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    pad = network.config.pad_token_id
    for _ in range(STEPS):
        chosen = [lessons[i] for i in torch.randint(len(lessons), (24,)).tolist()]
        sides = [
            torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, side)), True, value)
            for side, value in zip(zip(*chosen, strict=True), (pad, -100), strict=True)
        ]
        loss = network(sides[0], attention_mask=sides[0] != pad, labels=sides[1]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.2f} on {len(lessons)} lessons")
    network.eval()


def write_folder(folder: Path, network: MarianMTModel, name: str) -> None:
    """The config and the weights."""
    config = network.config.to_diff_dict()
    search = {"num_beams", "max_length", "bad_words_ids", "forced_eos_token_id"}
    # Copies of the embeddings share their memory, in the file too.
    halves = {value.data_ptr(): value.half() for value in network.state_dict().values()}
    weights = {key: halves[value.data_ptr()] for key, value in network.state_dict().items()}
    if name == "stored":
        used = GenerationConfig.from_model_config(network.config).to_diff_dict()
        used = {key: value for key, value in used.items() if not key.startswith("_")}
        used |= {"renormalize_logits": True, "transformers_version": transformers.__version__}
        _write(folder / "generation_config.json", used)
        config = {key: value for key, value in config.items() if key not in search}
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        kept = [
            key
            for key in weights
            if not key.endswith(("embed_tokens.weight", "embed_positions.weight"))
            and key != "lm_head.weight"
        ]
        kept = {key: weights[key] for key in kept}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", config)


def recorded_states(name: str, network: MarianMTModel, ids: list) -> dict[str, np.ndarray]:
    """The encoder's states and the first logits of texts, each by itself."""
    found = {}
    start = torch.tensor([[network.config.decoder_start_token_id]])
    for i, row in enumerate(ids):
        with torch.no_grad():
            result = network(input_ids=torch.tensor([row]), decoder_input_ids=start)
        found[f"{name}/states/{i}"] = result.encoder_last_hidden_state[0].numpy()
        found[f"{name}/logits/{i}"] = result.logits[0, 0].numpy()
    return found


def translations(network: MarianMTModel, ids: list, changes: Mapping) -> list[list[int]]:
    """What `generate` makes of each text by itself, without the start, the same in float64."""
    settings = GenerationConfig.from_dict({**network.generation_config.to_dict(), **changes})
    settings.forced_eos_token_id = changes.get(
        "forced_eos_token_id", network.generation_config.forced_eos_token_id
    )

    def searched(model: MarianMTModel, row: list[int]) -> list[int]:
        ids = torch.tensor([row])
        # Else `generate` would leave out a <pad> that is written in a text.
        every = {"attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            return model.generate(ids, **every, generation_config=settings)[0, 1:].tolist()

    found = [searched(network, row) for row in ids]
    network.double()
    exact = [searched(network, row) for row in ids]
    network.float()
    differing = sum(a != b for a, b in zip(found, exact, strict=True))
    if differing:
        raise SystemExit(f"{changes}: {differing} of {len(ids)} texts hang on near ties")
    return found


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
