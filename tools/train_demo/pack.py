"""Pack the trained parts as float16 checkpoints: python -m tools.train_demo.pack."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHT_FILES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
TEXT_CLASSES = {"en": ("CLIPTextModel", "CLIPTokenizer"), "zh": ("BertModel", "BertTokenizer")}


def model_index(language: str) -> dict[str, Any]:
    """The content of model_index.json: which class reads which subfolder."""
    text_encoder, tokenizer = TEXT_CLASSES[language]
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.30.0",  # the file means the same to every release since
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", text_encoder],
        "tokenizer": ["transformers", tokenizer],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def halve_weights(path: Path, prefix: str = "") -> None:
    """Rewrite a weight file with floats as float16 and `prefix` before keys that lack it."""
    weights: dict[str, torch.Tensor] = {}
    for key, value in load_file(path).items():
        name = key if key.startswith(prefix) else prefix + key
        weights[name] = value.half().contiguous() if value.is_floating_point() else value
    save_file(weights, path, metadata={"format": "pt"})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON without a final newline, as the checkpoints were shipped."""
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def pack(work: Path, language: str, target: Path) -> None:
    """Assemble one checkpoint from the work folder of the training steps."""
    sources = {
        "unet": work / "unet",
        "vae": work / "vae",
        "scheduler": work / "scheduler",
        "text_encoder": work / language / "text_encoder",
        "tokenizer": work / language / "tokenizer",
    }
    for part, source in sources.items():
        shutil.copytree(source, target / part, dirs_exist_ok=True)
    for part, name in WEIGHT_FILES.items():
        # Newer transformers save CLIP without the prefix that every public checkpoint has.
        prefix = "text_model." if (part, language) == ("text_encoder", "en") else ""
        halve_weights(target / part / name, prefix)

    config_path = target / "scheduler" / "scheduler_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    # DDIM clips the predicted sample to -1..1 by default; latents reach beyond that.
    config["clip_sample"] = False
    write_json(config_path, dict(sorted(config.items())))
    write_json(target / "model_index.json", model_index(language))


def main(argv: Sequence[str] | None = None) -> None:
    """Write OUT/demo (English) and OUT/demo_zh (Chinese)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("outputs/train_demo"),
        help="the folder the training steps wrote to (outputs/train_demo)",
    )
    parser.add_argument("--out", type=Path, help="where demo/ and demo_zh/ go (WORK/models)")
    args = parser.parse_args(argv)
    out = args.out or args.work / "models"
    for language, name in (("en", "demo"), ("zh", "demo_zh")):
        pack(args.work, language, out / name)
        print(out / name)


if __name__ == "__main__":
    main()
