"""A checkpoint on disk made into a pipeline ready to run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paddle import nn
from paddlenlp.utils.log import logger

from sdbatch.engine.device import Device
from sdbatch.errors import UserError
from sdbatch.models.config import UNetConfig, UnsupportedConfig, VAEConfig
from sdbatch.models.text import TextEncoder, encoder_kind, text_network
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from sdbatch.pipeline import Pipeline
from sdbatch.samplers import SOLVERS, NoiseSchedule
from sdbatch.weights import maps
from sdbatch.weights.checkpoint import Checkpoint, Component
from sdbatch.weights.load import build, fill
from sdbatch.weights.tokenizer import open_tokenizer

logger.set_level("WARNING")

_TEXT_MAPS = {"CLIPTextModel": maps.clip_text, "BertModel": maps.bert}


def load_pipeline(
    checkpoint: Checkpoint, schedule: NoiseSchedule, solver: str, device: Device
) -> Pipeline:
    """Build the networks on the device and fill them, strictly.

    Raises:
        UserError: a config or a weight that does not fit, by file and key.
    """
    return Pipeline(
        text_encoder=_load_text_encoder(checkpoint, device.dtype),
        unet=load_unet(checkpoint.unet, device.dtype),
        vae=load_vae(checkpoint.vae, device.dtype),
        schedule=schedule,
        solver=SOLVERS[solver],
    )


def load_unet(component: Component, dtype: str) -> UNet:
    """The denoising network of a checkpoint."""
    with _naming(component.folder / "config.json"):
        config = UNetConfig.from_dict(component.config)
    return _filled(UNet, config, component, maps.diffusers_unet, dtype)


def load_vae(component: Component, dtype: str) -> VAE:
    """The autoencoder; in float32 where the checkpoint says that half precision overflows."""
    with _naming(component.folder / "config.json"):
        config = VAEConfig.from_dict(component.config)
    dtype = "float32" if config.force_upcast and dtype == "float16" else dtype
    return _filled(VAE, config, component, maps.diffusers_vae, dtype)


def _load_text_encoder(checkpoint: Checkpoint, dtype: str) -> TextEncoder:
    component = checkpoint.text_encoder
    with _naming(component.folder / "config.json"):
        kind = encoder_kind(component.config)
    tokenize = open_tokenizer(
        checkpoint.tokenizer_folder, kind, component.config["max_position_embeddings"]
    )
    network = _filled(text_network, component.config, component, _TEXT_MAPS[kind], dtype)
    return TextEncoder(tokenize, network)


def _filled(
    factory: Callable[[Any], nn.Layer],
    config: Any,
    component: Component,
    key_map: maps.KeyMap,
    dtype: str,
) -> nn.Layer:
    layer = build(lambda: factory(config), dtype)
    fill(layer, component.tensors(), key_map, source=str(component.folder))
    return layer


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an unsupported config into a user's error that names the file."""
    try:
        yield
    except UnsupportedConfig as error:
        raise UserError(f"{path}: {error}") from error
