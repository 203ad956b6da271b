"""The networks of the demo checkpoints: Stable Diffusion 1.x, part for part, only smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import BertConfig, BertModel, CLIPTextConfig, CLIPTextModel

from .vocabularies import BOS, CLIP_LENGTH, EOS, BertVocabulary, ClipVocabulary
from .world import PICTURE_SIZE

LATENT_CHANNELS = 4
LATENT_SIZE = PICTURE_SIZE // 8  # three of the VAE's four blocks halve the picture
CONTEXT_WIDTH = 128

NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def build_vae() -> AutoencoderKL:
    """Make the autoencoder: pictures [n, 3, 128, 128] to latents [n, 4, 16, 16] and back."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 48, 64, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        sample_size=PICTURE_SIZE,
        scaling_factor=1.0,  # measured and set once the training is over
    )


def build_clip_encoder(vocabulary: ClipVocabulary) -> CLIPTextModel:
    """Make the English text encoder: ids [n, 77] to hidden states [n, 77, 128]."""
    config = CLIPTextConfig(
        vocab_size=len(vocabulary.ids),
        hidden_size=CONTEXT_WIDTH,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CLIP_LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=vocabulary.ids[BOS],
        eos_token_id=vocabulary.ids[EOS],
        pad_token_id=vocabulary.ids[EOS],
        projection_dim=CONTEXT_WIDTH,
    )
    return CLIPTextModel(config)


def build_bert_encoder(vocabulary: BertVocabulary) -> BertModel:
    """Make the Chinese text encoder: ids [n, 40] to hidden states [n, 40, 128]."""
    config = BertConfig(
        vocab_size=len(vocabulary.ids),
        hidden_size=CONTEXT_WIDTH,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=True)


def build_unet() -> UNet2DConditionModel:
    """Make the denoiser: latents [n, 4, 16, 16] and text [n, tokens, 128] to predicted noise."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=(48, 96, 144),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=CONTEXT_WIDTH,
        attention_head_dim=4,  # as in SD 1.x, this says how many heads, not how wide they are
        norm_num_groups=16,
    )


def describe(network: torch.nn.Module) -> str:
    """Name a network and count its parameters, for the log."""
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    return f"{type(network).__name__}: {millions:.2f} M parameters"


def pictures_to_tensor(pictures: list[np.ndarray]) -> torch.Tensor:
    """Stack uint8 [h, w, 3] pictures into float32 [n, 3, h, w] in -1..1, channels last."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    scaled = stacked.float().div(127.5).sub(1)
    return scaled.contiguous(memory_format=torch.channels_last)


def tensor_to_picture(pixels: torch.Tensor) -> Image.Image:
    """Turn float [3, h, w] in -1..1 into an RGB picture."""
    scaled = pixels.clamp(-1, 1).add(1).mul(127.5).round().byte()
    return Image.fromarray(scaled.permute(1, 2, 0).numpy())
