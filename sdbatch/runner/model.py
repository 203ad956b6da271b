"""The model that a config names: its checkpoint, what is added, how it samples and reads text.

Only configs and headers are read here, and files' digests when they are asked for. No Paddle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from sdbatch.config.schema import Config, ModelConfig, SchedulerConfig, ShortcutsConfig
from sdbatch.errors import UserError
from sdbatch.models.config import UNetConfig, VAEConfig, text_architecture
from sdbatch.models.text_config import text_encoder_name
from sdbatch.runner.reading import English, english, text_options, text_settings
from sdbatch.samplers import Sampler, SamplerOptions, UnsupportedSchedule
from sdbatch.shortcuts import Shortcuts
from sdbatch.text import TextOptions
from sdbatch.weights.additions import Additions
from sdbatch.weights.checkpoint import Checkpoint, naming
from sdbatch.weights.embeddings import open_embedding
from sdbatch.weights.lora import open_lora
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from sdbatch.weights.tokenizer_kind import tokenizer_kind


@dataclass(frozen=True)
class Model:
    """What turns a request into a picture; not loaded yet."""

    checkpoint: Checkpoint
    additions: Additions
    sampler: Sampler
    text: TextOptions
    noise: str
    unet: UNetConfig
    vae: VAEConfig
    shortcuts: Shortcuts
    english: English = field(default_factory=English)

    def settings(self, precision: str) -> dict[str, Any]:
        """The part of a dataset's `Settings` that the model decides, run in this precision."""
        loras, embeddings = self.additions.digests()
        return {
            "family": self.checkpoint.family,
            "weights_sha256": self.checkpoint.weights_sha256,
            "model_config_sha256": self.checkpoint.config_sha256,
            "loras": loras,
            "embeddings": embeddings,
            "scheduler": self.sampler.name,
            "scheduler_settings": self.sampler.settings,
            "text": text_settings(self.text, self.english),
            "precision": precision,
            "noise": self.noise,
            "shortcuts": self.shortcuts.settings,
        }

    @cached_property
    def text_encoder(self) -> str:
        """What reads the prompts, for records: `clip`, `bert`, `xlm-roberta`; SDXL: `clip+clip`."""
        return "+".join(text_encoder_name(e.config) for e in self.checkpoint.text_encoders)

    @cached_property
    def tokenizer(self) -> str:
        """What cuts the prompts: `clip-bpe`, `wordpiece`, `sentencepiece`; SDXL has two."""
        pairs = zip(self.checkpoint.tokenizers, self.checkpoint.text_encoders, strict=True)
        return "+".join(tokenizer_kind(files, text_architecture(e.config)) for files, e in pairs)

    @property
    def side(self) -> int:
        """Width and height that it was trained at, in pixels."""
        return self.unet.sample_size * self.vae.downscale

    @property
    def inpaints(self) -> bool:
        """The network cannot do without a picture and a mask."""
        return self.unet.in_channels > self.vae.latent_channels


def open_model(config: Config) -> Model:
    """Open everything that `model`, `scheduler`, `text`, `shortcuts` and `noise` name.

    Args:
        config: the job's.

    Raises:
        UserError: a file, a key or an option that does not fit.
    """
    checkpoint = open_checkpoint(Path(config.model.path), _source_options(config.model))
    additions = _additions(config.model, checkpoint)
    sampler = _choose_sampler(config.scheduler, checkpoint)
    unet, vae = _network_configs(checkpoint)
    text = text_options(config.text)
    noise = config.noise.value
    shortcuts = _shortcuts(config.shortcuts)
    return Model(
        checkpoint, additions, sampler, text, noise, unet, vae, shortcuts,
        english(config, checkpoint),
    )  # fmt: skip


def _source_options(model: ModelConfig) -> SourceOptions:
    return SourceOptions(
        family=model.family and model.family.value,
        prediction=model.prediction and model.prediction.value,
        ema=model.ema,
        variant=model.variant,
        vae=model.vae and Path(model.vae),
        base=model.base and Path(model.base),
    )


def _additions(model: ModelConfig, checkpoint: Checkpoint) -> Additions:
    additions = Additions(
        tuple((open_lora(Path(lora.path)), lora.weight) for lora in model.loras),
        tuple(open_embedding(Path(item.path), item.token) for item in model.embeddings),
    )
    additions.check(checkpoint)
    return additions


def _choose_sampler(scheduler: SchedulerConfig, checkpoint: Checkpoint) -> Sampler:
    """The solver and schedule that config and checkpoint make together."""
    options = {
        name: value.value if isinstance(value, Enum) else value
        for name, value in asdict(scheduler).items()
    }
    try:
        return Sampler.from_config(checkpoint.scheduler, SamplerOptions(**options))
    except UnsupportedSchedule as error:
        key = str(error).partition("=")[0]
        asked_for = options.get(key) is not None
        where = "scheduler." if asked_for else f"{checkpoint.scheduler_path}: "
        raise UserError(f"{where}{error}") from error


def _shortcuts(options: ShortcutsConfig) -> Shortcuts:
    interval = options.guidance_interval
    return Shortcuts(
        guidance_interval=None if interval is None else (interval[0], interval[1]),
        token_merging=options.token_merging,
        feature_reuse=options.feature_reuse,
    )


def _network_configs(checkpoint: Checkpoint) -> tuple[UNetConfig, VAEConfig]:
    with naming(checkpoint.path):
        unet = UNetConfig.from_dict(checkpoint.unet.config)
        return unet, VAEConfig.from_dict(checkpoint.vae.config)
