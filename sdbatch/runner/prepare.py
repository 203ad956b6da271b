"""Everything that is settled before work begins: a sound config made into a job.

Nothing is written here. Whatever a user can get wrong is refused here, so that a refused job
leaves no trace.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

import pyarrow as pa

from sdbatch.config.schema import Config, ModelConfig, SchedulerConfig
from sdbatch.dataset.schema import check_carried, dataset_schema
from sdbatch.engine.device import Device, choose_device, prepare_process
from sdbatch.errors import UserError
from sdbatch.inputs import ImageLimits
from sdbatch.models.config import UNetConfig, UnsupportedConfig, VAEConfig
from sdbatch.plan import Plan, Settings, matching_plan, read_run
from sdbatch.prompts import PromptDefaults, PromptTable
from sdbatch.samplers import Sampler, SamplerOptions, UnsupportedSchedule
from sdbatch.text import TextOptions
from sdbatch.weights.additions import Additions
from sdbatch.weights.checkpoint import Checkpoint
from sdbatch.weights.embeddings import open_embedding
from sdbatch.weights.lora import open_lora
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint


@dataclass(frozen=True)
class Job:
    """One dataset to be made, and with what."""

    folder: Path
    table: PromptTable
    checkpoint: Checkpoint
    additions: Additions
    sampler: Sampler
    text: TextOptions
    noise: str
    input_limits: ImageLimits
    plan: Plan
    schema: pa.Schema
    device: Device
    engine: str
    batch_size: int
    png_compression: int
    grace_s: float


def prepare(config: Config) -> Job:
    """Read and check everything that the config names.

    Raises:
        UserError: the table, the checkpoint, the device or an existing dataset do not fit.
    """
    table = PromptTable(Path(config.prompts.path), config.prompts.limit)
    check_carried(table.path, table.carried)
    checkpoint = open_checkpoint(Path(config.model.path), _source_options(config.model))
    additions = _additions(config.model, checkpoint)
    loras, embeddings = additions.digests()
    sampler = _choose_sampler(config.scheduler, checkpoint)
    prepare_process()
    device = choose_device(config.device, config.precision.name.value)
    unet, vae = _network_configs(checkpoint)
    side = unet.sample_size * vae.downscale
    defaults = PromptDefaults(
        images_per_prompt=config.images_per_prompt,
        steps=config.steps,
        width=config.width or side,
        height=config.height or side,
        strength=config.strength,
    )
    summary = table.check(
        defaults, max(8, vae.downscale), all_masked=unet.in_channels > vae.latent_channels
    )
    _check_steps(sampler, summary.steps, checkpoint)
    text = TextOptions(**asdict(config.text))
    settings = Settings(
        family=checkpoint.family,
        weights_sha256=checkpoint.weights_sha256,
        model_config_sha256=checkpoint.config_sha256,
        loras=loras,
        embeddings=embeddings,
        scheduler=sampler.name,
        scheduler_settings=sampler.settings,
        steps=config.steps,
        guidance_scale=config.guidance_scale,
        guidance_rescale=config.guidance_rescale,
        strength=config.strength,
        width=defaults.width,
        height=defaults.height,
        negative_prompt=config.negative_prompt,
        text={key: value for key, value in asdict(text).items() if key != "cache_mb"},
        images_per_prompt=config.images_per_prompt,
        precision=device.precision,
        seed=config.seed,
        noise=config.noise.value,
        table_sha256=summary.sha256,
    )
    folder = Path(config.output.dir)
    plan = Plan(settings, summary.rows, summary.images, config.output.shard_size)
    return Job(
        folder=folder,
        table=table,
        checkpoint=checkpoint,
        additions=additions,
        sampler=sampler,
        text=text,
        noise=settings.noise,
        input_limits=ImageLimits(
            max_bytes=config.max_input_mb * 10**6, max_pixels=config.max_input_megapixels * 10**6
        ),
        plan=_continue_existing(folder, plan),
        schema=dataset_schema(
            table.carried,
            {
                "fingerprint": settings.fingerprint,
                "model": checkpoint.name,
                "weights_sha256": settings.weights_sha256,
                "scheduler": settings.scheduler,
                "precision": settings.precision,
                "noise": settings.noise,
            },
        ),
        device=device,
        engine="dygraph",
        batch_size=(device.auto_batch_size if config.batch_size == "auto" else config.batch_size),
        png_compression=config.output.png_compression,
        grace_s=config.grace_s,
    )


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


def _network_configs(checkpoint: Checkpoint) -> tuple[UNetConfig, VAEConfig]:
    try:
        unet = UNetConfig.from_dict(checkpoint.unet.config)
        return unet, VAEConfig.from_dict(checkpoint.vae.config)
    except UnsupportedConfig as error:
        raise UserError(f"{checkpoint.path}: {error}") from error


def _check_steps(sampler: Sampler, steps: frozenset[int], checkpoint: Checkpoint) -> None:
    for count in sorted(steps):
        try:
            sampler.trajectory(count)
        except UnsupportedSchedule as error:
            raise UserError(f"{error} ({checkpoint.name}'s scheduler)") from error


def _continue_existing(folder: Path, plan: Plan) -> Plan:
    """The plan as it is, or as an unfinished dataset in `folder` began it."""
    existing = read_run(folder)
    if existing is not None:
        return matching_plan(folder / "run.json", existing, plan)
    # A run killed at its first write may have left a temporary beside the run.json to be.
    if folder.is_dir() and any(not p.name.startswith(".run.json.") for p in folder.iterdir()):
        raise UserError(
            f"output.dir: {folder}: not empty and not a dataset (no run.json); "
            "expected a new or empty folder, or a dataset to go on with"
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output.dir: {folder}: expected a folder, found a file")
    return plan
