"""A checkpoint on disk made into a pipeline ready to run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paddle import nn
from paddlenlp.utils.log import logger

from sdbatch.engine.device import Device
from sdbatch.errors import UserError
from sdbatch.models.config import UNetConfig, UnsupportedConfig, VAEConfig, integer
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
# The imports leave about a million objects; a collection that walks them while layers are built
# takes longer than all the rest of loading.
gc.freeze()

_TEXT_MAPS = {"CLIPTextModel": maps.clip_text, "BertModel": maps.bert}


def load_pipeline(
    checkpoint: Checkpoint, schedule: NoiseSchedule, solver: str, device: Device
) -> Pipeline:
    """Build the networks on the device and fill them, strictly.

    Raises:
        UserError: a config or a weight that does not fit, by file and key.
    """
    _refuse_misfits(checkpoint)
    return Pipeline(
        text_encoder=_load_text_encoder(checkpoint, device.dtype),
        unet=load_unet(checkpoint.unet, device.dtype),
        vae=load_vae(checkpoint.vae, device.dtype),
        schedule=schedule,
        solver=SOLVERS[solver],
    )


def load_unet(component: Component, dtype: str) -> UNet:
    """The denoising network of a checkpoint."""
    return _filled(UNet, _unet_config(component), component, maps.diffusers_unet, dtype)


def load_vae(component: Component, dtype: str) -> VAE:
    """The autoencoder; in float32 where the checkpoint says that half precision overflows."""
    config = _vae_config(component)
    dtype = "float32" if config.force_upcast and dtype == "float16" else dtype
    return _filled(VAE, config, component, maps.diffusers_vae, dtype)


def _refuse_misfits(checkpoint: Checkpoint) -> None:
    """Networks that are sound each, but that the pipeline cannot connect."""
    unet, vae = _unet_config(checkpoint.unet), _vae_config(checkpoint.vae)
    path = checkpoint.unet.folder / "config.json"
    if unet.addition_time_embed_dim is not None:
        raise UserError(
            f"{path}: addition_embed_type='text_time': checkpoints with added embeddings (SDXL) "
            "are not supported yet"
        )
    if (unet.in_channels, unet.out_channels) != (vae.latent_channels, vae.latent_channels):
        raise UserError(
            f"{path}: in_channels={unet.in_channels}, out_channels={unet.out_channels}: expected "
            f"{vae.latent_channels}, the VAE's latent_channels (inpainting and the like are not "
            "supported)"
        )
    with _naming(checkpoint.text_encoder.folder / "config.json"):
        width = integer(checkpoint.text_encoder.config, "hidden_size")
    if any(size != width for size in unet.cross_attention_dim):
        raise UserError(
            f"{path}: cross_attention_dim={unet.cross_attention_dim[0]}: expected {width}, the "
            "text encoder's hidden_size"
        )


def _unet_config(component: Component) -> UNetConfig:
    with _naming(component.folder / "config.json"):
        return UNetConfig.from_dict(component.config)


def _vae_config(component: Component) -> VAEConfig:
    with _naming(component.folder / "config.json"):
        return VAEConfig.from_dict(component.config)


def _load_text_encoder(checkpoint: Checkpoint, dtype: str) -> TextEncoder:
    component = checkpoint.text_encoder
    with _naming(component.folder / "config.json"):
        kind = encoder_kind(component.config)
        positions = integer(component.config, "max_position_embeddings")
    tokenize = open_tokenizer(checkpoint.tokenizer_folder, kind, positions)
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
