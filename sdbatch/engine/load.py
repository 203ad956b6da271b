"""A checkpoint on disk made into a pipeline ready to run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from paddle import Tensor, nn
from paddlenlp.utils.log import logger

from sdbatch.engine.device import Device
from sdbatch.engine.execution import Compilable, Dygraph, Execution
from sdbatch.errors import UserError
from sdbatch.models.config import UNetConfig, VAEConfig, integer
from sdbatch.models.text import (
    ReadRows,
    TextEncoder,
    TextReading,
    encoder_kind,
    text_network,
)
from sdbatch.models.text_config import TextShape
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from sdbatch.networks import Autoencoder, DenoisingNetwork
from sdbatch.pipeline import Pipeline
from sdbatch.samplers import Sampler
from sdbatch.shortcuts import NO_SHORTCUTS, Shortcuts
from sdbatch.text import TextOptions, TextOptionsError
from sdbatch.text.encoder import PromptEncoder
from sdbatch.translation.files import TranslatorFiles
from sdbatch.translation.translator import load_translator
from sdbatch.weights.additions import NOTHING, Additions
from sdbatch.weights.checkpoint import Checkpoint, Component, naming
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import KeyMap, Patch, paddle_form, same, unchanged
from sdbatch.weights.tokenizer import open_tokenizer

logger.set_level("WARNING")
# The imports leave about a million objects; a collection that walks them while layers are built
# takes longer than all the rest of loading.
gc.freeze()


PLAIN_TEXT = TextOptions()
DYGRAPH = Dygraph()


def load_pipeline(
    checkpoint: Checkpoint,
    sampler: Sampler,
    device: Device,
    additions: Additions = NOTHING,
    *,
    execution: Execution = DYGRAPH,
    vae_precision: str | None = None,
    text: TextOptions = PLAIN_TEXT,
    translator: TranslatorFiles | None = None,
    noise: str = "torch_cpu",
    shortcuts: Shortcuts = NO_SHORTCUTS,
    vae_tile: int | None = None,
) -> Pipeline:
    """Build the networks on the device and fill them, strictly.

    Args:
        checkpoint: opened from any source.
        sampler: how latents are sampled.
        device: where, and in which precision.
        additions: LoRAs to be merged, new tokens.
        execution: how the networks are run.
        vae_precision: fp16, bf16 or fp32; None: the device's, or fp32 where the checkpoint says
            that half precision overflows.
        text: how prompts are read.
        translator: makes Chinese texts English before.
        noise: where random numbers come from.
        shortcuts: what is left out of the network's calls.
        vae_tile: pixels of the largest side that is decoded whole; None: any.

    Raises:
        UserError: a config or a weight that does not fit, by file and key.
    """
    _refuse_misfits(checkpoint, text)
    if vae_precision is None:
        overflows = device.dtype == "float16" and _vae_config(checkpoint.vae).force_upcast
        vae_precision = "fp32" if overflows else device.precision
    vae_dtype = replace(device, precision=vae_precision).dtype
    encoders = _load_text_encoders(checkpoint, additions, device.dtype, execution)
    return Pipeline(
        prompts=PromptEncoder(
            encoders,
            text,
            sdxl=checkpoint.family == "sdxl",
            zero_empty_negative=checkpoint.zeros_for_empty,
            translate=translator and load_translator(translator).translate,
        ),
        unet=_load_unet(
            checkpoint.unet, additions, device.dtype, execution, shortcuts.token_merging
        ),
        vae=_load_vae(
            checkpoint.vae, vae_dtype, execution, _unwritten_files(checkpoint, additions)
        ),
        sampler=sampler,
        noise=noise,
        shortcuts=shortcuts,
        vae_tile=vae_tile,
    )


def _load_unet(
    component: Component,
    additions: Additions,
    dtype: str,
    execution: Execution,
    token_merging: float,
) -> DenoisingNetwork:
    layer = unet_network(component, additions, token_merging).load(dtype)
    files = [] if additions.loras else mapped_files(component)
    describes = {**asdict(layer.config), "token_merging": token_merging}
    # Nothing is made of the ways that are never called.
    ways = {"unet": layer, "unet.whole": layer.whole, "unet.outermost": layer.outermost}
    calls = (
        execution.compile(
            Compilable(name, layer, call, describes, files, in_parts=True, bears_bf16=True)
        )
        for name, call in ways.items()
    )
    return DenoisingNetwork(layer.config, layer.dtype, *calls)


def _load_vae(
    component: Component, dtype: str, execution: Execution, files: Sequence[Path]
) -> Autoencoder:
    """`files`: whose pages need not be in memory beside what this network takes."""
    layer = vae_network(component).load(dtype)
    describes = asdict(layer.config)
    encode, decode = (
        execution.compile(
            Compilable(
                f"vae.{call.__name__}",
                layer,
                call,
                describes,
                files,
                in_parts=in_parts,
                seldom=True,
            )
        )
        for call, in_parts in ((layer.encode, False), (layer.decode, True))
    )
    return Autoencoder(layer.config, layer.dtype, encode, decode)


def _unwritten_files(checkpoint: Checkpoint, additions: Additions) -> list[Path]:
    """All files of a checkpoint but those whose maps additions have written to."""
    components = [checkpoint.vae]
    if additions == NOTHING:
        components += [checkpoint.unet, *checkpoint.text_encoders]
    return [path for component in components for path in mapped_files(component)]


def mapped_files(component: Component) -> list[Path]:
    """The files whose memory maps a layer on the CPU is filled with."""
    return [path.resolve() for path in component.files]


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint: how its layer is made, and how its weights are named there."""

    component: Component
    factory: Callable[[], nn.Layer]
    to_layer: KeyMap = same
    patch: Patch = unchanged

    def load(self, dtype: str) -> nn.Layer:
        """Build the layer on the current device and fill it.

        Raises:
            UserError: a weight is missing, unexpected or of a wrong shape.
        """
        layer, component = build(self.factory, dtype), self.component
        fill(
            layer,
            component.tensors(),
            component.layout,
            self.to_layer,
            source=str(component.source),
            patch=self.patch,
        )
        return layer


def unet_network(
    component: Component, additions: Additions = NOTHING, token_merging: float = 0.0
) -> Network:
    """The denoising network of a checkpoint."""
    config = _unet_config(component)
    patch = additions.patch(component, config.layers_per_block[0])
    return Network(component, lambda: UNet(config, token_merging), patch=patch)


def vae_network(component: Component) -> Network:
    """The autoencoder."""
    config = _vae_config(component)
    return Network(component, lambda: VAE(config))


def text_network_of(component: Component, additions: Additions = NOTHING) -> Network:
    """A text encoder."""
    with naming(component.config_path):
        kind = encoder_kind(component.config)
        TextShape.from_dict(component.config)
    names = paddle_form.clip_text if kind.startswith("CLIP") else paddle_form.bert
    config = additions.text_config(component.config)
    patch = additions.patch(component)
    return Network(component, lambda: text_network(config), names, patch)


def networks(checkpoint: Checkpoint) -> list[Network]:
    """All networks of a checkpoint, not yet built.

    Raises:
        UserError: a config asks for what these layers do not implement.
    """
    texts = map(text_network_of, checkpoint.text_encoders)
    return [unet_network(checkpoint.unet), vae_network(checkpoint.vae), *texts]


def _refuse_misfits(checkpoint: Checkpoint, text: TextOptions) -> None:
    """Networks that are sound each, but that the pipeline cannot connect."""
    unet, vae = _unet_config(checkpoint.unet), _vae_config(checkpoint.vae)
    path, latent = checkpoint.unet.config_path, vae.latent_channels
    # Latents alone, or beside them a mask and a masked picture.
    if unet.in_channels not in (latent, 2 * latent + 1) or unet.out_channels != latent:
        raise UserError(
            f"{path}: in_channels={unet.in_channels}, out_channels={unet.out_channels}: expected "
            f"{latent} (the VAE's latent_channels), or {2 * latent + 1} in and {latent} out for "
            "inpainting"
        )
    shapes = {}
    for encoder in checkpoint.text_encoders:
        with naming(encoder.config_path):
            shapes[encoder.name] = shape = TextShape.from_dict(encoder.config)
        try:
            text.check_layers(shape.layers, sdxl=checkpoint.family == "sdxl")
        except TextOptionsError as error:
            raise UserError(f"text.{error}") from error
    width = sum(shape.width for shape in shapes.values())
    if any(size != width for size in unet.cross_attention_dim):
        raise UserError(
            f"{path}: cross_attention_dim={unet.cross_attention_dim[0]}: expected {width}, the "
            f"{shape.width_key} of {' and '.join(shapes)}"
        )
    if unet.addition_time_embed_dim is not None:
        last = checkpoint.text_encoders[-1]
        with naming(last.config_path):
            pooled = integer(last.config, "projection_dim")
        expected = pooled + 6 * unet.addition_time_embed_dim
        if unet.projection_class_embeddings_input_dim != expected:
            raise UserError(
                f"{path}: projection_class_embeddings_input_dim="
                f"{unet.projection_class_embeddings_input_dim}: expected {expected}, six sizes and "
                f"the projection_dim of {last.name}"
            )


def _unet_config(component: Component) -> UNetConfig:
    with naming(component.config_path):
        return UNetConfig.from_dict(component.config)


def _vae_config(component: Component) -> VAEConfig:
    with naming(component.config_path):
        return VAEConfig.from_dict(component.config)


def _load_text_encoders(
    checkpoint: Checkpoint, additions: Additions, dtype: str, execution: Execution
) -> list[TextEncoder]:
    encoders = []
    pairs = zip(checkpoint.text_encoders, checkpoint.tokenizers, strict=True)
    for component, files in pairs:
        with naming(component.config_path):
            kind = encoder_kind(component.config)
            shape = TextShape.from_dict(component.config)
        tokenizer = open_tokenizer(files, kind, shape.positions, additions.embeddings, shape.words)
        network = text_network_of(component, additions).load(dtype)
        config = additions.text_config(component.config)
        read_rows = _compiled_reading(component.name, network, config, execution)
        encoders.append(TextEncoder(tokenizer, network, read_rows))
    return encoders


def _compiled_reading(
    name: str, network: nn.Layer, config: Mapping[str, Any], execution: Execution
) -> ReadRows:
    """`TextReading` of one network, compiled for each way of asking."""

    @cache  # a handful: no more than there are layers, twice
    def compiled(skip: int, normed: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        layer = TextReading(network, skip, normed)
        describes = {"config": dict(config), "skip": skip, "normed": normed}
        return execution.compile(Compilable(name, layer, layer, describes))

    return lambda rows, skip, normed: compiled(skip, normed)(rows)
