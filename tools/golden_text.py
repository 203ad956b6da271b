"""Record what PyTorch makes of prompts: ids, weights, states of tiny encoders, for the tests.

Run in an environment with torch and transformers (not sdbatch's own):

    pip install torch transformers
    python tools/golden_text.py                                # writes tests/golden/text/
    python tools/golden_text.py --web-ui modules/prompt_parser.py   # the syntax too

The second takes AUTOMATIC1111's web UI's own parser, a file of its checkout, and records what it
says. Everything else is transformers, float32 on a CPU: each chunk passes through the encoder as a
row of its own, and weights are applied as `modules/sd_emphasis.py` of the web UI does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from golden_text_prompts import SYNTAX, prompts
from transformers import (
    BertModel,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "sdbatch" / "assets"
OUT = ROOT / "tests" / "golden" / "text"

LENGTH = 12  # of a chunk, so that short texts have several
END, WORDS = 593, 594  # of the demo's vocabulary
TINY = {
    "vocab_size": WORDS + 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 592,
    "eos_token_id": END,
    "layer_norm_eps": 1e-5,
}
LARGE = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
HUGE = {"hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 3, "hidden_act": "gelu"}
# Encoders by name: config, padding.
ENCODERS = {
    "sd1": ({"architectures": ["CLIPTextModel"], **TINY, **LARGE}, "<|endoftext|>"),
    "sd2": ({"architectures": ["CLIPTextModel"], **TINY, **HUGE}, "!"),
    "sdxl_2": (
        {
            "architectures": ["CLIPTextModelWithProjection"],
            **TINY,
            **HUGE,
            "projection_dim": 20,
            "eos_token_id": 2,  # as published: a mistake that the position of the end depends on
        },
        "!",
    ),
}
FAMILIES = {"sd1": ["sd1"], "sd2": ["sd2"], "sdxl": ["sd1", "sdxl_2"]}
PLAIN = [
    "",
    "a red star",
    "a large red star, a small blue circle on a white background, and a green square!",
    "ten tokens: a red star on a",
    "no!! a star!!!",
]
# Prompts with weights, and what they say, by hand.
WEIGHTED = {
    "a (red:1.5) star": [("a ", 1), ("red", 1.5), (" star", 1)],
    "(a large) [red] ((star)), a (small:0.5) blue circle on a \\(white\\) background": [
        ("a large", 1.1),
        (" ", 1),
        ("red", 1 / 1.1),
        (" ", 1),
        ("star", 1.1 * 1.1),
        (", a ", 1),
        ("small", 0.5),
        (" blue circle on a (white) background", 1),
    ],
}
ROWS = [  # ids of the second encoder of SDXL: ends in several places, a new token, no end
    [592, 320, 539, END, *[0] * 8],
    [592, *[320] * 10, END],
    [592, 320, 595, 539, END, END, 594, *[0] * 5],
    [592, *[320] * 11],
]


def main() -> None:
    """Write the golden files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--web-ui", type=Path, help="its modules/prompt_parser.py")
    web_ui = parser.parse_args().web_ui
    OUT.mkdir(parents=True, exist_ok=True)
    _save("ids", recorded_ids())
    if web_ui:
        _save("syntax", {text: parsed(web_ui, text) for text in SYNTAX})
    with torch.no_grad():
        np.savez_compressed(OUT / "encoders.npz", **recorded_states())


def _save(name: str, content: dict) -> None:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (OUT / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def recorded_ids() -> dict:
    """Ids of all prompts, uncut, for the tokenizers that differ: by padding, and BERT's."""
    texts = prompts()
    first, second = (
        clip_tokenizer(ASSETS / "families" / name, ASSETS / "clip_tokenizer")
        for name in ("sd1/tokenizer", "sd2/tokenizer")
    )
    bert = BertTokenizer.from_pretrained(ASSETS / "demo_zh" / "tokenizer")
    ends = [_ids(first, text) for text in texts]
    marks = [_ids(second, text) for text in texts]
    return {
        "transformers": transformers.__version__,
        "texts": texts,
        "sd1": ends,
        "sd2": {i: mark for i, mark in enumerate(marks) if mark != ends[i]},
        "bert": [_ids(bert, text) for text in texts],
    }


def _ids(tokenizer: object, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def clip_tokenizer(settings: Path, vocabulary: Path, **changes: object) -> CLIPTokenizer:
    """A tokenizer with the settings of one folder and the vocabulary of another."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (*settings.iterdir(), *vocabulary.iterdir()):
            shutil.copy(path, folder)
        return CLIPTokenizer.from_pretrained(folder, **changes)


def parsed(path: Path, text: str) -> list:
    """What the web UI's parser makes of a prompt; the file imports more than the function needs."""
    source = path.read_text(encoding="utf-8")
    scope: dict = {}
    exec("import re\n" + source[source.index("re_attention =") :].split("\nif __name__")[0], scope)
    return scope["parse_prompt_attention"](text)


def recorded_states() -> dict[str, np.ndarray]:
    """Weights, and states by family, text, number of skipped layers; pooled texts of SDXL."""
    torch.manual_seed(1)
    networks, record = {}, {}
    for name, (config, _) in ENCODERS.items():
        networks[name] = network = tiny(config)
        record[f"{name}/config"] = np.array(json.dumps(config))
        record |= {
            f"{name}/weights/{key}": weight.numpy().astype(np.float16)
            for key, weight in network.state_dict().items()
        }
    for family, names in FAMILIES.items():
        for skip in range(TINY["num_hidden_layers"] + (family != "sdxl")):
            for i, text in enumerate(PLAIN):
                states = conditioning(networks, names, [(text, 1)], skip, None)
                record[f"{family}/plain/{i}/{skip}"] = states
        for i, pieces in enumerate(WEIGHTED.values()):
            for mean in (False, True):
                states = conditioning(networks, names, pieces, 0, mean)
                record[f"{family}/weighted/{i}/{int(mean)}"] = states
    record |= recorded_pooled(networks["sdxl_2"])
    record["texts"] = np.array(json.dumps({"plain": PLAIN, "weighted": list(WEIGHTED)}))
    return record | recorded_bert()


def recorded_pooled(network: CLIPTextModelWithProjection) -> dict[str, np.ndarray]:
    """Of each text's first chunk; of `ROWS`, with the published config and with a right one."""
    found = {}
    for i, text in enumerate(PLAIN):
        rows, _ = chunks("sdxl_2", [(text, 1)])
        found[f"pooled/{i}"] = network(torch.tensor(rows[:1])).text_embeds.numpy()
    found["rows"] = np.array(ROWS)
    for eos in (2, END):
        network.text_model.eos_token_id = eos
        found[f"rows/pooled/{eos}"] = network(torch.tensor(ROWS)).text_embeds.numpy()
    return found


def recorded_bert() -> dict[str, np.ndarray]:
    """Every layer's states of a text, by the demo's own encoder, which attends to the padding."""
    network = BertModel.from_pretrained(ASSETS / "demo_zh" / "text_encoder").eval()
    tokenizer = BertTokenizer.from_pretrained(ASSETS / "demo_zh" / "tokenizer")
    text = "蓝色背景上的红色小圆形"
    encoded = tokenizer(text, padding="max_length", max_length=40, return_tensors="pt")["input_ids"]
    found = network(encoded, torch.ones_like(encoded), output_hidden_states=True).hidden_states
    states = {f"bert/{skip}": found[-1 - skip].numpy() for skip in range(len(found))}
    return {"bert/text": np.array(text), **states}


def tiny(config: dict) -> torch.nn.Module:
    """A network of random weights that 16 bits can hold, large enough for activations to matter."""
    projected = config["architectures"] == ["CLIPTextModelWithProjection"]
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    network = kind(CLIPTextConfig(**config)).eval()
    for weight in network.parameters():
        scale = 0.3 if weight.ndim > 1 else 0.2
        weight.data = (torch.randn(weight.shape) * scale + (weight == 1)).half().float()
    return network


def chunks(name: str, pieces: Sequence[tuple[str, float]]) -> tuple[list, list]:
    """Ids and weights of each chunk."""
    padding = ENCODERS[name][1]
    demo = ASSETS / "demo" / "tokenizer"
    tokenizer = clip_tokenizer(demo, demo, pad_token=padding)
    tokens = [(number, weight) for text, weight in pieces for number in _ids(tokenizer, text)]
    room, rows, weights = LENGTH - 2, [], []
    for start in range(0, max(len(tokens), 1), room):
        part = tokens[start : start + room]
        missing = room - len(part)
        ids = [number for number, _ in part]
        rows.append([592, *ids, END, *[tokenizer.pad_token_id] * missing])
        weights.append([1.0, *(weight for _, weight in part), *[1.0] * (missing + 1)])
    return rows, weights


def conditioning(
    networks: dict,
    names: Sequence[str],
    pieces: Sequence[tuple[str, float]],
    skip: int,
    restore_mean: bool | None,
) -> np.ndarray:
    """States [tokens, width] of a text; `restore_mean` None: there are no weights."""
    sdxl, side_by_side = len(names) > 1, []
    most = max(len(chunks(name, pieces)[0]) for name in names)
    for name in names:
        rows, weights = chunks(name, pieces)
        missing = most - len(rows)  # "!!" is one token or two
        rows, weights = rows + chunks(name, [])[0] * missing, weights + [[1.0] * LENGTH] * missing
        found = [
            networks[name](torch.tensor([row]), output_hidden_states=True).hidden_states
            for row in rows
        ]
        states = torch.cat([hidden[-(skip + 1 + sdxl)] for hidden in found])
        if not sdxl:
            states = networks[name].final_layer_norm(states)
        if restore_mean is not None:
            weighted = states * torch.tensor(weights)[..., None]
            means = [x.mean(dim=(1, 2), keepdim=True) for x in (states, weighted)]
            states = weighted * (means[0] / means[1] if restore_mean else 1)
        side_by_side.append(states.flatten(0, 1))
    return torch.cat(side_by_side, dim=-1).numpy()


if __name__ == "__main__":
    main()
