"""Record what PyTorch makes of LoRAs and textual inversions, for the tests.

Run in an environment with torch, diffusers, transformers and peft (not sdbatch's own):

    pip install torch diffusers transformers peft safetensors pillow
    python tools/golden_lora.py              # writes tests/golden/lora/

Pictures of the demo checkpoint with LoRAs and new tokens, and ids of prompts with new tokens in
them. (The ways of naming a LoRA's tensors: golden_lora_names.py.)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import diffusers
import numpy as np
import peft
import torch
import transformers
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "sdbatch" / "assets" / "demo"
STEPS, GUIDANCE, SEEDS = 10, 5.0, [31, 2**40 + 7]
NEGATIVE = ["", "blue"]
PROMPTS = ["a large red star on a white background", "a small green circle on a yellow background"]
NEW_TOKENS = ["a large <glow> on a white background", "a small <twin>, on a white background"]
RANK, ALPHA = 4, 2

# Which modules of the demo each LoRA changes, by the ends of their names.
ADAPTERS = {
    "a": {
        "unet": ["to_q", "to_k", "to_v", "to_out.0", "down_blocks.1.resnets.0.conv1"],
        "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"],
    },
    "b": {
        "unet": [
            "down_blocks.0.attentions.0.proj_in",
            "up_blocks.1.attentions.0.proj_out",
            "mid_block.resnets.1.conv2",
            "down_blocks.0.downsamplers.0.conv",
            "up_blocks.0.upsamplers.0.conv",
            "conv_shortcut",
            "time_emb_proj",
            "ff.net.0.proj",
            "ff.net.2",
        ],
        "text_encoder": ["fc2"],
    },
}
STRENGTH = {"a": 0.8, "b": 0.5}  # enough to see, too little to spoil the pictures
PICTURES = {
    "none": [],
    "a at 0.5": [("a", 0.5)],
    "a at 1": [("a", 1.0)],
    "a at 0.7 and b at 0.6": [("a", 0.7), ("b", 0.6)],
}

# New tokens as (token, number of vectors), and prompts to find them in.
TOKEN_SETS = {
    "sd1": [("<glow>", 1), ("<twin>", 2), ("art", 1), ("Shiny", 1), ("two words", 1), ("wow!", 3)],
    "sd2": [("<glow>", 1), ("<twin>", 2), ("wow!", 3), ("so!fine", 1)],
}
TOKEN_PROMPTS = [
    "",
    "<glow>",
    "a <glow> star",
    "a <glow>, red.",
    "a(<glow>)b'<glow>'s",
    "red<glow>red",
    "12<glow>34",
    "<GLOW> and <Glow>",
    "<gl <glow <glow>> <<glow>",
    "a <twin> star",
    "<twin>",
    "<twin><twin> <glow><twin>",
    "the <twin>'s, don't",
    "party ART artful",
    "SHINY shiny Shiny shinyred",
    "two words two  words two\nwords twowords",
    "wow! wow !! wow!!wow!",
    "so!fine so! fine",
    "café <glow> naïve ÉTÉ",
    "<glow>\u0338 e\u0301<glow>",
    "水墨画<glow>风格",
    "emoji 🎨<glow>🎨",
    "x <|endoftext|><glow> y",
    "red " * 73 + "<twin> blue",
    "<glow> " * 90,
]


def scaled_factors(network: torch.nn.Module, seed: int, strength: float) -> None:
    """Random factors whose product is to each weight, at scale 1, about as `strength` to 1."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if not isinstance(layer, LoraLayer):
            continue
        base = layer.get_base_layer().weight
        for adapter in layer.lora_A:
            down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
            down.data = torch.randn(down.shape, generator=generator) / down[0].numel() ** 0.5
            up.data = torch.randn(up.shape, generator=generator)
            size = layer.get_delta_weight(adapter).norm() / base.norm()
            up.data = up.data * (strength / size)
            down.data, up.data = down.data.half().float(), up.data.half().float()


def demo() -> StableDiffusionPipeline:
    """The bundled checkpoint as PyTorch's own pipeline, float32."""
    pipe = StableDiffusionPipeline.from_pretrained(
        DEMO, torch_dtype=torch.float32, safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pictures(pipe: StableDiffusionPipeline, prompts: list[str]) -> Image.Image:
    """One picture a prompt, side by side, each from a generator of its own."""
    images = pipe(
        prompts,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        negative_prompt=NEGATIVE,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
    ).images
    strip = Image.new("RGB", (128 * len(images), 128))
    for i, image in enumerate(images):
        strip.paste(image, (128 * i, 0))
    return strip


def to_kohya(state: dict[str, torch.Tensor], alpha: float) -> dict[str, torch.Tensor]:
    """A LoRA named by diffusers as kohya's scripts name it for SD 1.x."""
    renamed = {}
    for key, value in state.items():
        component, module = key.split(".", 1)
        module, _, factor = module.rpartition(".lora_")
        if component == "text_encoder" and not module.startswith("text_model."):
            module = f"text_model.{module}"
        start = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[component]
        start += module.replace(".", "_")
        renamed[f"{start}.lora_{'down' if factor == 'A.weight' else 'up'}.weight"] = value
        renamed[f"{start}.alpha"] = torch.tensor(float(alpha)).to(value.dtype)
    return renamed


def make_adapters(out: Path) -> None:
    """LoRAs `a` and `b` for the demo: a.safetensors, a_kohya.safetensors, b_kohya.safetensors."""
    for seed, (name, parts) in enumerate(ADAPTERS.items()):
        pipe = demo()
        config = {}
        for part, targets in parts.items():
            config[part] = LoraConfig(
                r=RANK, lora_alpha=ALPHA, target_modules=targets, init_lora_weights=False
            )
            network = getattr(pipe, part)
            network.add_adapter(config[part])
            scaled_factors(network, seed, STRENGTH[name])
        state = {
            part: {
                key: value.half()
                for key, value in get_peft_model_state_dict(getattr(pipe, part)).items()
            }
            for part in parts
        }
        if name == "a":
            StableDiffusionPipeline.save_lora_weights(
                out,
                unet_lora_layers=state["unet"],
                text_encoder_lora_layers=state["text_encoder"],
                weight_name="a.safetensors",
                unet_lora_adapter_metadata=plain(config["unet"]),
                text_encoder_lora_adapter_metadata=plain(config["text_encoder"]),
            )
        flat = {f"{part}.{key}": v for part, keys in state.items() for key, v in keys.items()}
        save_file(to_kohya(flat, ALPHA), out / f"{name}_kohya.safetensors")


def plain(config: LoraConfig) -> dict:
    """The settings as diffusers' own training scripts pass them on, but for where the model was."""
    return {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.to_dict().items()
        if value is not None and key != "base_model_name_or_path"
    }


def make_embeddings(out: Path) -> None:
    """<glow> of one vector, <twin> of two, as diffusers saves them; <twin> as web UIs do too."""
    table = CLIPTextModel.from_pretrained(DEMO / "text_encoder").get_input_embeddings().weight.data
    tokenizer = CLIPTokenizer.from_pretrained(DEMO / "tokenizer")
    blue, heart, purple = (
        table[tokenizer(word, add_special_tokens=False).input_ids[0]]
        for word in ("blue", "heart", "purple")
    )
    noise = torch.randn(3, table.shape[1], generator=torch.Generator().manual_seed(5))
    noise *= 0.2 * heart.norm() / noise[0].norm()
    save_file({"<glow>": (blue + heart) / 2**0.5 + noise[0]}, out / "glow.safetensors")
    twin = torch.stack([purple, heart]) + noise[1:]
    save_file({"<twin>": twin}, out / "twin.safetensors")
    record = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": torch.nn.Parameter(twin)},
        "name": "<twin>",
        "step": 500,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }
    torch.save(record, out / "twin_a1111.pt")


def make_pictures(out: Path) -> dict:
    """All strips below each other, in the order of the record."""
    strips = {}
    for title, adapters in PICTURES.items():
        pipe = demo()
        for name, _ in adapters:
            file = "a.safetensors" if name == "a" else "b_kohya.safetensors"
            pipe.load_lora_weights(out, weight_name=file, adapter_name=f"style_{name}")
        if adapters:
            names, weights = zip(*adapters, strict=True)
            pipe.set_adapters([f"style_{name}" for name in names], list(weights))
        strips[title] = pictures(pipe, PROMPTS)
    pipe = demo()
    pipe.load_lora_weights(out, weight_name="a_kohya.safetensors")
    difference = np.abs(_int(pictures(pipe, PROMPTS)) - _int(strips["a at 1"])).max()
    assert difference <= 1, f"kohya's naming and diffusers' make different pictures: {difference}"
    pipe = demo()
    pipe.load_textual_inversion(out, weight_name="glow.safetensors")
    pipe.load_textual_inversion(out, weight_name="twin.safetensors")
    strips["new tokens"] = pictures(pipe, NEW_TOKENS)
    sheet = Image.new("RGB", (256, 128 * len(strips)))
    for i, (title, strip) in enumerate(strips.items()):
        sheet.paste(strip, (0, 128 * i))
        mean = np.abs(_int(strip) - _int(strips["none"])).mean()
        print(f"{title}: mean difference from none {mean:.1f}")
    sheet.save(out / "pictures.png", optimize=True)
    return {
        "steps": STEPS,
        "guidance_scale": GUIDANCE,
        "seeds": SEEDS,
        "negative_prompts": NEGATIVE,
        "rows": [
            {
                "title": title,
                "prompts": NEW_TOKENS if title == "new tokens" else PROMPTS,
                "loras": PICTURES.get(title, []),
            }
            for title in strips
        ],
    }


def _int(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def make_ids() -> dict:
    """Ids of prompts with new tokens, as `load_textual_inversion` and the pipeline give them."""
    found = {}
    for title, new in TOKEN_SETS.items():
        pipe = demo()
        if title == "sd2":  # pads with "!", which is then a special token
            pipe.tokenizer = CLIPTokenizer.from_pretrained(DEMO / "tokenizer", pad_token="!")
        width = pipe.text_encoder.config.hidden_size
        for token, count in new:
            pipe.load_textual_inversion({token: torch.zeros(count, width)})
        texts = pipe.maybe_convert_prompt(TOKEN_PROMPTS, pipe.tokenizer)
        ids = pipe.tokenizer(texts, padding="max_length", truncation=True, max_length=77).input_ids
        found[title] = {"tokens": new, "ids": [_without_padding(row) for row in ids]}
    return {"prompts": TOKEN_PROMPTS, "sets": found}


def _without_padding(ids: list[int]) -> list[int]:
    """Up to the end token, so that the record stays short."""
    return ids[: ids.index(593, 1) + 1] if ids.count(593) == 1 else ids


def main() -> None:
    """Write every golden file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden" / "lora")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    make_adapters(out)
    make_embeddings(out)
    record = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "pictures": make_pictures(out),
        "new_tokens": make_ids(),
    }
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (out / "golden.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
