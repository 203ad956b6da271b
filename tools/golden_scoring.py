"""Record what transformers and diffusers think of pictures, for tests/scoring.

    python tools/golden_scoring.py

needs torch, transformers 4.46.3, diffusers 0.31.0, safetensors, NumPy 2 and Pillow, which sdbatch
itself does not. Writes tests/golden/scoring: tiny checkpoints of random weights in folders as
transformers and diffusers save them, the inputs, and what came out.
"""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers.pipelines.stable_diffusion import safety_checker
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessor,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
)

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "sdbatch" / "assets"
OUT = ROOT / "tests" / "golden" / "scoring"

SIZE = 16  # of the pictures that the networks see
CHINESE_LENGTH = 52  # tokens of a text, as Chinese-CLIP was trained
VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": SIZE,
    "patch_size": 4,
}
TEXT = {
    "vocab_size": 594,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 20,
    "bos_token_id": 592,
    "eos_token_id": 593,
}
BERT = {
    "vocab_size": len((ASSETS / "demo_zh/tokenizer/vocab.txt").read_text("utf-8").splitlines()),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "clip": {"text_config": TEXT, "vision_config": VISION, "projection_dim": 20},
    # Older in everything: a mistaken end, configs given twice, another activation.
    "clip_old": {
        "text_config": {**TEXT, "eos_token_id": 2, "hidden_act": "gelu"},
        "vision_config": {"num_hidden_layers": 9},
        "vision_config_dict": {**VISION, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        "projection_dim": 20,
    },
    "chinese_clip": {"text_config": BERT, "vision_config": VISION, "projection_dim": 20},
    "safety_checker": {"vision_config": VISION, "projection_dim": 20},
}
PROCESSORS = {
    "clip": {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}},
    "clip_old": {"size": SIZE + 5, "crop_size": SIZE},
    "chinese_clip": {"size": {"height": SIZE, "width": SIZE}, "do_center_crop": False},
    "safety_checker": {"size": SIZE, "crop_size": SIZE},
    # Of no network: as small as makes the crop add a border, and nothing left as it is by default.
    "padded": {"size": {"shortest_edge": SIZE - 3}, "crop_size": {"height": SIZE, "width": SIZE}},
    "plain": {
        "do_resize": False,
        "do_normalize": False,
        "rescale_factor": 0.5,
        "crop_size": {"height": SIZE, "width": SIZE},
    },
}
PROMPTS = [
    "",
    "a red star",
    "A large RED star, a small blue circle on a white background, and a green square!",
    "no!! a star!!!",
    "café naïve Straße",
    "  two   spaces\tand\na line ",
    "it's 12 o'clock",
    "😀 a smile 🎉🎉",
    "👩‍🚀 on the moon 🌕",
    "<|endoftext|> in the middle <|startoftext|>",
    "a [PAD] and a [SEP]",
    "star " * 60,
    "supercalifragilisticexpialidocious" * 3,
    "蓝色背景上的红色小圆形",
    "绿色的星形",
    "白色背景，黑色的大方形。",
    "红色 star 和 blue 圆形",
    "春眠不觉晓",
    "红色的大圆形在蓝色背景上，" * 8,
    "圆形🌸🌸",
]


def main() -> None:
    """Write the golden files."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.manual_seed(5)
    pictures = made_pictures(np.random.RandomState(3))
    record = {f"picture/{i}": picture for i, picture in enumerate(pictures)}
    versions = {m.__name__: m.__version__ for m in (torch, transformers, diffusers, np)}
    record["texts"] = np.array(json.dumps({"prompts": PROMPTS, "versions": versions}))
    for name, settings in PROCESSORS.items():
        kind = ChineseCLIPImageProcessor if name == "chinese_clip" else CLIPImageProcessor
        processor = kind(**settings)
        values = [processor(p, return_tensors="np")["pixel_values"][0] for p in pictures]
        record[f"{name}/pixels"] = np.stack(values)
    with torch.no_grad():
        for name in ("clip", "clip_old", "chinese_clip"):
            record |= recorded_scores(name, record[f"{name}/pixels"])
        record |= recorded_checks(record["safety_checker/pixels"])
    np.savez_compressed(OUT / "record.npz", **record)


def made_pictures(random: np.random.RandomState) -> list[np.ndarray]:
    """Noise, smooth ones, nearly flat ones; the smallest, odd sizes, long strips."""

    def smooth(height: int, width: int) -> np.ndarray:
        small = Image.fromarray(random.randint(0, 256, (4, 5, 3)).astype(np.uint8))
        return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))

    def flat(height: int, width: int, colour: tuple[int, int, int], by: int) -> np.ndarray:
        noise = random.randint(0, by + 1, (height, width, 3))
        return (np.array(colour) + noise).astype(np.uint8)

    return [
        random.randint(0, 256, (40, 40, 3)).astype(np.uint8),
        random.randint(0, 256, (8, 8, 3)).astype(np.uint8),
        random.randint(0, 256, (16, 16, 3)).astype(np.uint8),
        random.randint(0, 256, (8, 61, 3)).astype(np.uint8),
        smooth(64, 64),
        smooth(97, 31),
        smooth(33, 150),
        smooth(128, 96),
        flat(32, 32, (128, 128, 128), 0),
        flat(32, 48, (0, 0, 0), 1),
        flat(17, 19, (250, 250, 250), 3),
        flat(64, 24, (200, 30, 90), 1),
    ]


def recorded_scores(name: str, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Features of all pictures and prompts, and the cosine of each picture with each prompt."""
    chinese = name == "chinese_clip"
    config = (ChineseCLIPConfig if chinese else CLIPConfig)(**deepcopy(CONFIGS[name]))
    network = filled((ChineseCLIPModel if chinese else CLIPModel)(config))
    folder = saved(name, network, old=name == "clip_old")
    vocabulary = ASSETS / ("demo_zh" if chinese else "demo") / "tokenizer"
    for path in vocabulary.iterdir():
        shutil.copyfile(path, folder / path.name)
    if chinese:  # as published: longer than what the network was trained with
        settings = folder / "tokenizer_config.json"
        longer = {**json.loads(settings.read_text()), "model_max_length": 512}
        settings.write_text(json.dumps(longer, indent=2) + "\n")
    length = CHINESE_LENGTH if chinese else TEXT["max_position_embeddings"]
    tokenizer = AutoTokenizer.from_pretrained(vocabulary, use_fast=True)
    texts = tokenizer(
        PROMPTS, padding=True, truncation=True, max_length=length, return_tensors="pt"
    )
    images = network.get_image_features(torch.tensor(pixels))
    words = network.get_text_features(**texts)
    found = network(pixel_values=torch.tensor(pixels), **texts)
    return {
        f"{name}/ids": texts["input_ids"].numpy(),
        f"{name}/image_features": images.numpy(),
        f"{name}/text_features": words.numpy(),
        f"{name}/scores": (found.logits_per_image / network.logit_scale.exp()).numpy(),
    }


def recorded_checks(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What the safety checker rounds, in its order, and decides."""
    config = CLIPConfig(**deepcopy(CONFIGS["safety_checker"]))
    network = filled(safety_checker.StableDiffusionSafetyChecker(config))
    given = torch.tensor(pixels)
    features = network.visual_projection(network.vision_model(given)[1])
    # Embeddings near those of the pictures, and thresholds that some exceed: by a special concept's
    # hint alone, too.
    for embeds in (network.concept_embeds, network.special_care_embeds):
        rows = torch.randint(len(features), (len(embeds),))
        near = features[rows] + torch.randn(len(embeds), features.shape[1]) * features.std()
        embeds.data = near.half().float()
    special = safety_checker.cosine_distance(features, network.special_care_embeds)
    network.special_care_embeds_weights.data = special.quantile(0.75, dim=0).half().float()
    cosines = safety_checker.cosine_distance(features, network.concept_embeds)
    weights = cosines.max(dim=0).values + 0.05
    weights[3] = cosines[:, 3].topk(3).values.mean()
    weights[7] = cosines[:, 7].topk(4).values.mean()
    careful = (special > network.special_care_embeds_weights).any(dim=1)
    weights[11] = cosines[careful, 11].max() + 0.005
    network.concept_embeds_weights.data = weights.half().float()
    saved("safety_checker", network)
    settings = OUT / "safety_checker" / "preprocessor_config.json"
    beside = OUT / "feature_extractor" / settings.name
    beside.parent.mkdir()
    settings.rename(beside)
    rounded = []

    def recorder(value: np.float32, digits: int) -> np.float32:
        rounded.append(round(value, digits))
        # Nothing is decided by the last bits of a cosine; another seed will do.
        assert abs(value * 1000 % 1 - 0.5) > 0.002, value
        return rounded[-1]

    safety_checker.round = recorder
    _, flagged = network(given, [np.zeros((1, 1, 3)) for _ in pixels])
    scores = np.array(rounded, np.float32).reshape(len(pixels), 20)
    moved = (scores[:, 3:] > 0) & (cosines.numpy() - weights.numpy() < 0)
    assert 2 < sum(flagged) < len(flagged) - 2 and moved.any() and (scores[:, :3] > 0).any()
    return {
        "safety_checker/image_features": features.numpy(),
        "safety_checker/scores": scores,
        "safety_checker/flagged": np.array(flagged),
    }


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights that 16 bits can hold, large enough for activations to matter."""
    for weight in network.parameters():
        if weight.ndim:
            scale = 0.3 if weight.ndim > 1 else 0.2
            weight.data = (torch.randn(weight.shape) * scale + (weight == 1)).half().float()
    return network.eval()


def saved(name: str, network: torch.nn.Module, *, old: bool = False) -> Path:
    """The folder with configs as they were given and weights in 16 bits, or as PyTorch's pickle."""
    folder = OUT / name
    folder.mkdir()
    kinds = {"clip_old": "clip", "safety_checker": "clip"}
    config = {
        "architectures": [type(network).__name__],
        "model_type": kinds.get(name, name),
        **CONFIGS[name],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    settings = json.dumps(PROCESSORS[name], indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(settings)
    # Contiguous: safetensors insists.
    weights = {key: weight.contiguous() for key, weight in network.state_dict().items()}
    if old:
        for tower, positions in (("text", 20), ("vision", (SIZE // 4) ** 2 + 1)):
            weights[f"{tower}_model.embeddings.position_ids"] = torch.arange(positions)[None]
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        if name != "clip":
            weights = {key: weight.half() for key, weight in weights.items()}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


if __name__ == "__main__":
    main()
