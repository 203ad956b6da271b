"""Everything that is settled before work begins: a sound config made into a job.

Nothing is written here. Whatever a user can get wrong is refused here, so that a refused job
leaves no trace.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sdbatch.config.choices import EngineName
from sdbatch.config.schema import Config, OutputConfig
from sdbatch.dataset.images import ImageFormat
from sdbatch.dataset.schema import check_carried, dataset_schema
from sdbatch.engine.device import RANDOM, Device, choose_devices, cpu_devices
from sdbatch.engine.memory import available_memory, workers_that_fit
from sdbatch.engine.options import EngineOptions
from sdbatch.errors import UserError
from sdbatch.inputs import ImageLimits
from sdbatch.labels import Label
from sdbatch.plan import Plan, Settings
from sdbatch.prompts import PromptDefaults, PromptTable, TableSummary
from sdbatch.run_record import matching_plan, read_run
from sdbatch.runner.engine_options import settle_engine
from sdbatch.runner.judges import Judges, open_judges
from sdbatch.runner.labelling import open_label
from sdbatch.runner.model import Model, open_model
from sdbatch.samplers import UnsupportedSchedule


@dataclass(frozen=True)
class Job:
    """One dataset to be made, and with what. Workers get it pickled."""

    folder: Path
    table: PromptTable
    model: Model
    engine: EngineOptions
    input_limits: ImageLimits
    plan: Plan
    schema: pa.Schema
    batch_size: int
    image_format: ImageFormat
    label: Label | None
    judges: Judges


@dataclass(frozen=True)
class Prepared:
    """A job, and the devices to do it on, one for each worker."""

    job: Job
    devices: tuple[Device, ...]


def prepare(config: Config, known: TableSummary | None = None) -> Prepared:
    """Read and check everything that the config names.

    Args:
        config: validated.
        known: what an earlier check of the table told; it is not read again if it is still that
            table.

    Raises:
        UserError: the table, the checkpoint, the device or an existing dataset do not fit.
    """
    if config.metrics and not Path(config.metrics).absolute().parent.is_dir():
        raise UserError(f"metrics: {config.metrics}: expected a file in a folder that is there")
    named = _open(config)
    devices = _choose_devices(config, named.model)
    defaults = named.defaults
    engine = settle_engine(config, named.model, devices, (defaults.width, defaults.height))
    summary = named.check(known)
    plan = _plan(config, named, summary, devices[0].precision, len(devices), engine.batch_size)
    job = Job(
        folder=Path(config.output.dir),
        table=named.table,
        model=named.model,
        engine=engine.options,
        input_limits=ImageLimits(
            max_bytes=config.max_input_mb * 10**6, max_pixels=config.max_input_megapixels * 10**6
        ),
        plan=plan,
        schema=_schema(named.table, named.model, plan.settings),
        batch_size=engine.batch_size,
        image_format=_image_format(config.output),
        label=named.label,
        judges=named.judges,
    )
    return Prepared(job, devices)


def plan_elsewhere(config: Config, precision: str, workers: int) -> tuple[Plan, TableSummary]:
    """The plan of a dataset that other machines will make, and what its table told.

    Args:
        config: validated.
        precision: of the networks there.
        workers: how many there will be in all.

    Raises:
        UserError: as for `prepare`, but for what depends on the devices.
    """
    named = _open(config)
    summary = named.check(None)
    batch_size = _USUAL_BATCH if config.batch_size == "auto" else config.batch_size
    return _plan(config, named, summary, precision, workers, batch_size), summary


_USUAL_BATCH = 4
"""What a device takes at once where it is not known; it bounds the size of shards from below."""


@dataclass(frozen=True)
class _Named:
    """What a config names, opened."""

    table: PromptTable
    model: Model
    defaults: PromptDefaults
    label: Label | None
    judges: Judges

    def check(self, known: TableSummary | None) -> TableSummary:
        """Read the whole table, unless it is the known one."""
        summary = known
        if known is None or known.stamp != self.table.stamp:
            multiple = max(8, self.model.vae.downscale)
            summary = self.table.check(
                self.defaults,
                multiple,
                all_masked=self.model.inpaints,
                chinese=self.model.english.rows,
            )
        _check_steps(self.model, summary.steps)
        return summary


def _open(config: Config) -> _Named:
    table = PromptTable(Path(config.prompts.path), config.prompts.limit)
    check_carried(table.path, table.carried)
    model = open_model(config)
    defaults = PromptDefaults(
        images_per_prompt=config.images_per_prompt,
        steps=config.steps,
        width=config.width or model.side,
        height=config.height or model.side,
        strength=config.strength,
    )
    return _Named(
        table, model, defaults, open_label(config.label), open_judges(config, model.checkpoint)
    )


def _plan(
    config: Config,
    named: _Named,
    summary: TableSummary,
    precision: str,
    workers: int,
    batch_size: int,
) -> Plan:
    """As the config has it, or as a dataset that is there began it."""
    settings = _settings(config, named, precision, summary)
    shard_size = config.output.shard_size
    if shard_size == "auto":
        shard_size = auto_shard_size(summary.rows, summary.images, workers, batch_size)
    plan = Plan(settings, summary.rows, summary.images, shard_size)
    return _continue_existing(Path(config.output.dir), plan, config.resume.value)


def auto_shard_size(rows: int, images: int, workers: int, batch_size: int) -> int:
    """Rows of a shard: of 256 images, or 32 shards for each worker where the table is short.

    Smaller shards keep the end of a run short and lose less (docs/scaling.md), but one of less than
    two micro-batches would cost more to begin than it shares out.
    """
    wanted = min(256, images / (32 * workers))
    least = math.ceil(2 * batch_size * rows / images)
    return max(1, least, math.floor(wanted * rows / images))


def _choose_devices(config: Config, model: Model) -> tuple[Device, ...]:
    rehearsal = config.engine.name is EngineName.random
    weights = 0 if rehearsal else 4 * model.checkpoint.parameters
    cores = len(os.sched_getaffinity(0))
    fitting = workers_that_fit(cores, weights, available_memory())
    workers = config.workers
    if rehearsal:
        return cpu_devices(fitting if workers == "auto" else workers, RANDOM)
    precision = config.precision.name.value
    return choose_devices(config.device, config.devices, workers, precision, fitting)


def _image_format(output: OutputConfig) -> ImageFormat:
    name = output.image_format.value
    quality = output.webp_quality if name == "webp" else output.jpeg_quality
    return ImageFormat(name, quality, output.png_compression, output.webp_lossless)


def _settings(config: Config, named: _Named, precision: str, summary: TableSummary) -> Settings:
    return Settings(
        **named.model.settings(precision),
        steps=config.steps,
        guidance_scale=config.guidance_scale,
        guidance_rescale=config.guidance_rescale,
        strength=config.strength,
        width=named.defaults.width,
        height=named.defaults.height,
        negative_prompt=config.negative_prompt,
        images_per_prompt=config.images_per_prompt,
        seed=config.seed,
        image_format=_image_format(config.output).label,
        label=named.label.settings if named.label else {},
        safety=named.judges.settings,
        table_sha256=summary.sha256,
    )


def _schema(table: PromptTable, model: Model, settings: Settings) -> pa.Schema:
    constants = {
        "fingerprint": settings.fingerprint,
        "model": model.checkpoint.name,
        "weights_sha256": settings.weights_sha256,
        "scheduler": settings.scheduler,
        "precision": settings.precision,
        "noise": settings.noise,
    }
    return dataset_schema(table.carried, constants)


def _check_steps(model: Model, steps: frozenset[int]) -> None:
    for count in sorted(steps):
        try:
            model.sampler.trajectory(count)
        except UnsupportedSchedule as error:
            raise UserError(f"{error} ({model.checkpoint.name}'s scheduler)") from error


def _continue_existing(folder: Path, plan: Plan, resume: str) -> Plan:
    """The plan as it is, or as an unfinished dataset in `folder` began it."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output.dir: {folder}: expected a folder, found a file")
    existing = read_run(folder)
    if existing is not None:
        return matching_plan(folder / "run.json", existing, plan, resume)
    # A run killed at its first write may have left a temporary beside the run.json to be.
    if folder.is_dir() and any(not p.name.startswith(".run.json.") for p in folder.iterdir()):
        raise UserError(
            f"output.dir: {folder}: not empty and not a dataset (no run.json); "
            "expected a new or empty folder, or a dataset to go on with"
        )
    return plan
