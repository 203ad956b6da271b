"""The well-known checkpoints as `ModelShape`s: published configs, weights counted by their keys."""

import gzip
import json
import math
from collections import Counter

from sdbatch.engine.estimate import ModelShape
from sdbatch.models.config import UNetConfig, VAEConfig
from tests.conftest import ROOT
from tests.models import configs

SIDES = {"sd1": 512, "sd2": 768, "sdxl": 1024}
_CONFIGS = {
    "sd1": (configs.SD15_UNET, configs.SD15_VAE),
    "sd2": (configs.SD21_UNET, configs.SD15_VAE),
    "sdxl": (configs.SDXL_UNET, configs.SDXL_VAE),
}


def shape(family: str) -> ModelShape:
    """Of sd1, sd2 or sdxl."""
    keys = json.loads(gzip.decompress((ROOT / f"tests/golden/keys/{family}.json.gz").read_bytes()))
    count = Counter()
    for entry in keys:
        count[entry["component"]] += math.prod(entry["shape"])
    unet, vae = _CONFIGS[family]
    return ModelShape(
        UNetConfig.from_dict(unet),
        VAEConfig.from_dict(vae),
        unet_parameters=count["unet"],
        vae_parameters=count["vae"],
        text_parameters=count["text_encoder"] + count["text_encoder_2"],
    )
