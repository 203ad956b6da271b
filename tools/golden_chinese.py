"""Record what PyTorch makes of Chinese prompts: ids, and states of a tiny XLM-R with projection.

Run in an environment of its own:

    pip install torch transformers==4.46.3 diffusers==0.31.0 sentencepiece protobuf safetensors
    python tools/golden_chinese.py             # ids and states, into tests/golden/text/
    python tools/golden_chinese.py --train     # first the model of sentencepiece

Those versions are the last whose `XLMRobertaTokenizer` is the published one, on sentencepiece, and
that have AltDiffusion's text encoder. Of CLIP and BERT the quick tokenizers are taken, which are
all that transformers 5 has left.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import transformers
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)
from golden_chinese_prompts import added_words, bert_words, prompts, sentences
from transformers import (
    BertTokenizerFast,
    CLIPTokenizerFast,
    XLMRobertaTokenizer,
    XLMRobertaTokenizerFast,
)

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "sdbatch" / "assets"
OUT = ROOT / "tests" / "golden" / "text"
MODEL = OUT / "xlm_roberta.model.xz"

LENGTH = 12  # of a chunk, so that short texts have several
PIECES = 2000
CONFIG = {
    "architectures": ["RobertaSeriesModelWithTransformation"],
    "model_type": "xlm-roberta",
    "vocab_size": PIECES + 2,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_attention_heads": 3,
    "num_hidden_layers": 3,
    "max_position_embeddings": LENGTH + 2,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "project_dim": 16,
    "use_attention_mask": True,
}
VARIANTS = {
    "plain": {},
    "pre": {"has_pre_transformation": True},
    "unmasked": {"use_attention_mask": False},
}
TEXTS = [
    "",
    "红色的龙",
    "水墨画，红色的凤凰，在云海之上，8K超清；工笔画，金色的锦鲤，在月光下，细节丰富。",
    "a cat 🐱 <pad> 红 <pad>",
]
# As AltDiffusion's own tokenizer_config.json has it, but for the length.
SETTINGS = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "mask_token": {
        "__type": "AddedToken",
        "content": "<mask>",
        "lstrip": True,
        "normalized": True,
        "rstrip": False,
        "single_word": False,
    },
    "model_max_length": LENGTH,
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "tokenizer_class": "XLMRobertaTokenizer",
    "unk_token": "<unk>",
}


def main() -> None:
    """Write the golden files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    if parser.parse_args().train:
        MODEL.write_bytes(lzma.compress(trained()))
    text = json.dumps(recorded_ids(), ensure_ascii=False, separators=(",", ":"))
    (OUT / "chinese.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (OUT / "xlm_roberta.json.xz").write_bytes(lzma.compress(saved_whole()))
    with torch.no_grad():
        np.savez_compressed(OUT / "xlm_roberta.npz", **recorded_states())


def trained() -> bytes:
    """A small model with XLM-R's rules: Unigram, normalised by nmt_nfkc."""
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(6000)),
            model_prefix=f"{folder}/xlm",
            vocab_size=PIECES,
            model_type="unigram",
            character_coverage=0.9999,
            num_threads=1,
            minloglevel=2,
        )
        return Path(f"{folder}/xlm.model").read_bytes()


def recorded_ids() -> dict:
    """Ids of all prompts, uncut, by tokenizer."""
    texts = prompts()
    vocabulary = bert_words()
    clip = [ASSETS / "families" / "sd1" / "tokenizer", ASSETS / "clip_tokenizer"]
    more = {word: 49408 + i for i, word in enumerate(added_words())}
    plain = tokenizer(CLIPTokenizerFast, clip, {})
    extended = tokenizer(CLIPTokenizerFast, clip, {"added_tokens.json": json.dumps(more)})
    bert = tokenizer(BertTokenizerFast, [], {"vocab.txt": "".join(f"{w}\n" for w in vocabulary)})
    xlm = xlm_roberta({})
    with_words = xlm_roberta({"added_tokens_decoder": xlm_words()})
    return {
        "transformers": transformers.__version__,
        "texts": texts,
        "clip": _all(plain, texts),
        "clip_words": added_words(),
        "clip_added": _changes(extended, texts, _all(plain, texts)),
        "bert_vocabulary": vocabulary,
        "bert": _all(bert, texts),
        "xlm_roberta": _all(xlm, texts),
        "xlm_roberta_words": xlm_words(),
        "xlm_roberta_added": _changes(with_words, texts, _all(xlm, texts)),
    }


def xlm_words() -> dict[str, dict]:
    """Two words added to XLM-R's tokenizer, and its special tokens, as transformers lists them."""
    special = {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>", PIECES + 1: "<mask>"}
    rules = {i: {"content": word, "special": True} for i, word in special.items()}
    rules[PIECES + 1]["lstrip"] = True
    rules[PIECES + 2] = {"content": "色的", "lstrip": True, "rstrip": True}
    rules[PIECES + 3] = {"content": "红"}
    return {str(i): {"normalized": False, **rule} for i, rule in rules.items()}


def tokenizer(kind: type, folders: list[Path], files: Mapping[str, str]) -> Callable:
    """A tokenizer of the files of some folders, and of more."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (path for source in folders for path in source.iterdir()):
            shutil.copy(path, folder)
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        return kind.from_pretrained(folder)


def xlm_roberta(changes: Mapping[str, object]) -> XLMRobertaTokenizer:
    """The tiny model's tokenizer, with other settings."""
    with tempfile.TemporaryDirectory() as folder:
        return XLMRobertaTokenizer.from_pretrained(written(Path(folder), changes))


def saved_whole() -> bytes:
    """The same as transformers saves it where `tokenizer.json` is all there is."""
    with tempfile.TemporaryDirectory() as folder:
        whole = XLMRobertaTokenizerFast.from_pretrained(written(Path(folder), {}))
        whole.save_pretrained(folder, legacy_format=False)
        return (Path(folder) / "tokenizer.json").read_bytes()


def written(folder: Path, changes: Mapping[str, object]) -> Path:
    """The folder, with the tiny model's files in it."""
    (folder / "sentencepiece.bpe.model").write_bytes(lzma.decompress(MODEL.read_bytes()))
    settings = json.dumps({**SETTINGS, **changes})
    (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    return folder


def _all(tokenizer: Callable, texts: list[str]) -> list[list[int]]:
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def _changes(tokenizer: Callable, texts: list[str], others: list[list[int]]) -> dict:
    found = _all(tokenizer, texts)
    return {i: ids for i, ids in enumerate(found) if ids != others[i]}


def recorded_states() -> dict[str, np.ndarray]:
    """Weights, and what the UNet would read: by variant, text, chunk and skipped layers."""
    torch.manual_seed(1)
    whole = RobertaSeriesModelWithTransformation(
        RobertaSeriesConfig(**CONFIG, has_pre_transformation=True)
    )
    for weight in whole.parameters():
        # As 16 bits can hold, and large enough for activations to matter.
        scale = 0.3 if weight.ndim > 1 else 0.2
        weight.data = (torch.randn(weight.shape) * scale + (weight == 1)).half().float()
    weights = whole.state_dict()
    record = {
        "config": np.array(json.dumps(CONFIG)),
        "variants": np.array(json.dumps(VARIANTS)),
        "settings": np.array(json.dumps(SETTINGS)),
        "texts": np.array(json.dumps(TEXTS)),
        **{f"weights/{key}": value.numpy().astype(np.float16) for key, value in weights.items()},
    }
    read = xlm_roberta({})
    for name, changes in VARIANTS.items():
        config = RobertaSeriesConfig(**{**CONFIG, **changes})
        network = RobertaSeriesModelWithTransformation(config).eval()
        network.load_state_dict(weights, strict=False)
        for i, text in enumerate(TEXTS):
            for j, (ids, mask) in enumerate(chunks(read, text)):
                record[f"{name}/{i}/{j}/ids"] = np.array(ids)
                for skip, states in enumerate(states_of(network, ids, mask)):
                    record[f"{name}/{i}/{j}/{skip}"] = states.numpy()
    return record


def chunks(read: XLMRobertaTokenizer, text: str) -> list[tuple[list[int], list[int]]]:
    """Ids and attention mask of each chunk, with start, end and padding."""
    ids, room, found = _all(read, [text])[0], LENGTH - 2, []
    for start in range(0, max(len(ids), 1), room):
        part = ids[start : start + room]
        missing = room - len(part)
        mask = [1] * (len(part) + 2) + [0] * missing
        found.append(([0, *part, 2, *[1] * missing], mask))
    return found


def states_of(network: torch.nn.Module, ids: list[int], mask: list[int]) -> list[torch.Tensor]:
    """With 0, 1, 2 ... of the last layers left out; the first is what AltDiffusion reads."""
    given = torch.tensor([mask]) if network.config.use_attention_mask else None
    found = network(torch.tensor([ids]), attention_mask=given, output_hidden_states=True)
    states, hidden = [found[0][0]], found.hidden_states
    if network.has_pre_transformation:
        hidden = [network.transformation_pre(network.pre_LN(layer)) for layer in hidden[:-1]]
    else:
        hidden = [network.transformation(layer) for layer in hidden]
    assert torch.equal(hidden[-1][0], states[0])
    return [layer[0] for layer in reversed(hidden)]


if __name__ == "__main__":
    main()
