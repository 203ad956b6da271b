"""Record what original-layout checkpoints hold, and what PyTorch diffusers makes of it.

Such checkpoints are the single files of CompVis and Stability: SD 1.x, 2.x and XL. Their keys are
written down here as rules; diffusers' own converters say what becomes of each, on tensors that are
filled with their tags and take no memory; and the result must be exactly the networks that the
published configs describe. Run in an environment with torch, diffusers and transformers (not
sdbatch's own):

    pip install torch diffusers transformers
    python tools/golden_keys.py              # writes tests/golden/keys/

Each table is a list of {"key", "shape", "dtype", "component", "diffusers", "how"}. "diffusers" is a
list of [key, shape], in the order in which a split tensor's rows go to them; "how" is same,
transposed, split (by rows), reshaped or dropped. Text encoders' keys are in the published form,
with `text_model.` in front. Running averages also have "ema_of", the key that they stand in for.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from golden_keys_names import SCHEDULE, TIMESTEPS, Shapes, clip, open_clip, unet, vae
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "sdbatch" / "assets"


@dataclass(frozen=True)
class Family:
    """Which parts a family's published checkpoint has.

    Attributes:
        folder: its configs.
        text: text encoder -> its prefix.
        dtype: of its weights.
        schedule: has the tables of the noise schedule.
        counters: has the counters of the running averages.
        averages: has the running averages of the UNet's weights themselves.
    """

    folder: Path
    text: dict[str, str]
    dtype: str = "F32"
    schedule: bool = True
    counters: bool = True
    averages: bool = False


SD1_TEXT = {"text_encoder": "cond_stage_model.transformer."}
FAMILIES = {
    # v1-5-pruned: trained weights and averages. In v1-5-pruned-emaonly only `averages` is missing.
    "sd1": Family(ASSETS / "families" / "sd1", SD1_TEXT, averages=True),
    # v2-1_768-ema-pruned
    "sd2": Family(ASSETS / "families" / "sd2", {"text_encoder": "cond_stage_model.model."}),
    # sd_xl_base_1.0. Its `denoiser.sigmas` is computed, and not in the published file.
    "sdxl": Family(
        ASSETS / "families" / "sdxl",
        {
            "text_encoder": "conditioner.embedders.0.transformer.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        },
        dtype="F16",
        schedule=False,
        counters=False,
    ),
    "demo": Family(ASSETS / "demo", SD1_TEXT, averages=True),
}
DTYPES = {"position_ids": "I64", "model_ema.num_updates": "I32"}
POSITION_IDS = "text_model.embeddings.position_ids"
OPEN_CLIP_LAYERS = {1024: 24, 1280: 32}  # ViT-H and ViT-bigG
ROWS = 1 << 16


def checkpoint(family: Family) -> dict[str, tuple[str | None, tuple[int, ...]]]:
    """Every key of the published file -> the network it is in or None, and its shape."""
    found = {}

    def add(component: str | None, prefix: str, shapes: Shapes) -> None:
        found.update({f"{prefix}{key}": (component, shape) for key, shape in shapes.items()})

    if family.schedule:
        add(None, "", dict.fromkeys(SCHEDULE, (TIMESTEPS,)))
    unet_keys = unet(config_of(family, "unet"))
    add("unet", "model.diffusion_model.", unet_keys)
    if family.counters:
        add(None, "model_ema.", {"decay": (), "num_updates": ()})
    if family.averages:  # names of buffers, which PyTorch lets have no dots
        dotless = {key.replace(".", ""): shape for key, shape in unet_keys.items()}
        assert len(dotless) == len(unet_keys)
        add(None, "model_ema.diffusion_model", dotless)
    add("vae", "first_stage_model.", vae(config_of(family, "vae")))
    for name, prefix in family.text.items():
        config = config_of(family, name)
        if prefix.endswith("transformer."):
            add(name, prefix, clip(config))
        else:  # configs count the layers that are read: the last one of SD 2.x is not
            add(name, prefix, open_clip(config, OPEN_CLIP_LAYERS[config["hidden_size"]]))
    return found


def config_of(family: Family, name: str) -> dict:
    """The config of one network."""
    return json.loads((family.folder / name / "config.json").read_text(encoding="utf-8"))


def networks(family: Family) -> Iterator[tuple[str, torch.nn.Module]]:
    """The networks that the configs describe, without memory."""
    with torch.device("meta"):
        yield "unet", UNet2DConditionModel.from_config(config_of(family, "unet"))
        yield "vae", AutoencoderKL.from_config(config_of(family, "vae"))
        for name in family.text:
            config = config_of(family, name)
            projects = config["architectures"] == ["CLIPTextModelWithProjection"]
            kind = CLIPTextModelWithProjection if projects else CLIPTextModel
            yield name, kind(CLIPTextConfig(**config))


def stand_ins(shapes: Shapes) -> dict[str, torch.Tensor]:
    """A tensor for each key, filled with the key's number and the row's; a row takes 4 bytes."""
    made = {}
    for number, (key, shape) in enumerate(shapes.items()):
        rows = torch.arange(shape[0] if shape else 1, dtype=torch.int32)
        assert len(rows) <= ROWS
        column = (rows + number * ROWS).reshape(-1, *[1] * (len(shape) - 1))
        made[key] = column.expand(shape) if shape else column[0]
    return made


def converted(name: str, network: torch.nn.Module, prefix: str, tensors: dict) -> dict:
    """What diffusers' own converters make of a checkpoint, for one network."""
    if name == "unet":
        return single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), network.config)
    if name == "vae":
        return single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), network.config)
    if prefix.endswith("transformer."):
        return single_file_utils.convert_ldm_clip_checkpoint(dict(tensors))
    return single_file_utils.convert_open_clip_checkpoint(network, dict(tensors), prefix)


def origin(tensor: torch.Tensor, tensors: dict[str, torch.Tensor]) -> tuple[str, str, int]:
    """Which key a converted tensor came from, how, and from which of its rows on."""
    first = int(tensor.flatten()[0])
    key = list(tensors)[first // ROWS]
    source, start = tensors[key], first % ROWS
    if tensor is source:
        return key, "same", start
    makings = {
        "reshaped": lambda: source.reshape(tensor.shape),
        "transposed": lambda: source.T,
        "split": lambda: source[start : start + len(tensor)],
    }
    if tensor.shape != source.shape and tensor.numel() == source.numel():
        how = "reshaped"
    else:
        how = "transposed" if tensor.shape == source.shape[::-1] else "split"
    assert torch.equal(tensor, makings[how]()), key
    return key, how, start


def check(name: str, network: torch.nn.Module, found: dict[str, torch.Tensor]) -> None:
    """The converted tensors must be those of the network, no more and no less."""
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if name.startswith("text_encoder"):  # transformers 5 leaves the prefix out, in one class
        expected = {
            key if key.startswith("text_") else f"text_model.{key}": shape
            for key, shape in expected.items()
        }
    assert {key: tuple(value.shape) for key, value in found.items()} == expected, name


def table(family: Family) -> list[dict]:
    """The rows of one family's table."""
    content = checkpoint(family)
    tensors = stand_ins({key: shape for key, (_, shape) in content.items()})
    made: dict[str, list] = {key: [] for key in content}
    for name, network in networks(family):
        found = converted(name, network, family.text.get(name, ""), tensors)
        found.pop(POSITION_IDS, None)  # a constant, not in the state dict of transformers 5
        check(name, network, found)
        for key, tensor in found.items():
            source, how, start = origin(tensor, tensors)
            assert content[source][0] == name
            made[source].append((start, how, [key, list(tensor.shape)]))
    averaged = averages(tensors, config_of(family, "unet")) if family.averages else {}
    rows = []
    for key, (component, shape) in content.items():
        parts = sorted(made[key])
        assert len({how for _, how, _ in parts}) <= 1
        assert [start for start, _, _ in parts] == [
            i * shape[0] // len(parts) for i in range(len(parts))
        ]
        row = {
            "key": key,
            "shape": list(shape),
            "dtype": next((d for end, d in DTYPES.items() if key.endswith(end)), family.dtype),
            "component": component,
            "diffusers": [part for _, _, part in parts],
            "how": parts[0][1] if parts else "dropped",
        }
        rows.append(row | ({"ema_of": averaged[key]} if key in averaged else {}))
    assert len(averaged) == sum("ema_of" in row for row in rows)
    return rows


def averages(tensors: dict[str, torch.Tensor], config: dict) -> dict[str, str]:
    """Key of a running average -> the key of the weight it stands in for."""
    convert = single_file_utils.convert_ldm_unet_checkpoint
    trained = convert(dict(tensors), config)
    averaged = convert(dict(tensors), config, extract_ema=True)
    assert trained.keys() == averaged.keys()
    return {origin(averaged[key], tensors)[0]: origin(trained[key], tensors)[0] for key in trained}


def main() -> None:
    """Write every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden" / "keys")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    diffusers.logging.set_verbosity_error()
    for name, family in FAMILIES.items():
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in table(family))
        with gzip.GzipFile(out / f"{name}.json.gz", "wb", mtime=0) as file:
            file.write(f"[\n{lines}\n]\n".encode())


if __name__ == "__main__":
    main()
