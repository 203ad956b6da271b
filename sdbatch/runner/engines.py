"""What a worker makes pictures with."""

from __future__ import annotations

from sdbatch.engine.device import Device
from sdbatch.engine.options import EngineOptions
from sdbatch.runner.batches import Engine
from sdbatch.runner.model import Model
from sdbatch.runner.prepare import Job


def load_engine(job: Job, device: Device) -> Engine:
    """The job's engine, loaded in this process.

    Raises:
        UserError: a weight or a config that does not fit.
    """
    return open_engine(job.engine, job.model, device)


def open_engine(options: EngineOptions, model: Model, device: Device) -> Engine:
    """The model on the device; for a rehearsal (`random`), none.

    Raises:
        UserError: a weight or a config that does not fit.
    """
    if options.name == "random":
        from sdbatch.engine.random import RandomPixels

        return RandomPixels()
    from sdbatch.engine.device import enter

    enter(device)
    from sdbatch.engine.execution import make_execution
    from sdbatch.engine.load import load_pipeline  # imports Paddle and PaddleNLP

    return load_pipeline(
        model.checkpoint,
        model.sampler,
        device,
        model.additions,
        execution=make_execution(options, device),
        vae_precision=options.vae_precision,
        text=model.text,
        translator=model.english.translator,
        noise=model.noise,
        shortcuts=model.shortcuts,
        vae_tile=options.vae_tile,
    )
