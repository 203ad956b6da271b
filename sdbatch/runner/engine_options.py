"""The engine that a config asks for, settled for a device. No Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdbatch.config.choices import EngineName
from sdbatch.config.schema import Config
from sdbatch.engine.cards import Hardware, card, installed_cards, paddle_line
from sdbatch.engine.choices import Asked, choose
from sdbatch.engine.device import Device, cards_by_paddle, cpu_has_bf16
from sdbatch.engine.estimate import ModelShape
from sdbatch.engine.memory import available_memory
from sdbatch.engine.options import EngineOptions, default_cache
from sdbatch.engine.plan_text import explain
from sdbatch.errors import UserError
from sdbatch.runner.model import Model, open_model

_REHEARSAL_BATCH = 4


@dataclass(frozen=True)
class SettledEngine:
    """How a worker's networks are executed, and how many pictures it makes at once."""

    options: EngineOptions
    batch_size: int


def settle_engine(
    config: Config, model: Model, devices: tuple[Device, ...], size: tuple[int, int]
) -> SettledEngine:
    """All that is chosen for a device, the same for each of the job's.

    Args:
        config: the job's.
        model: opened.
        devices: of all workers.
        size: width and height of the pictures, in pixels.

    Raises:
        UserError: an engine that cannot do what is asked on this device.
    """
    cache = Path(config.engine.cache).absolute() if config.engine.cache else default_cache()
    cache_bytes = config.engine.cache_mb * 10**6
    if config.engine.name is EngineName.random:
        batch = _REHEARSAL_BATCH if config.batch_size == "auto" else config.batch_size
        return SettledEngine(EngineOptions("random", cache, cache_bytes), batch)
    asked = _asked(config, devices[0].precision, *size)
    found = choose(_hardware(devices), paddle_line(), _shape(model), asked)
    return SettledEngine(found.options(cache, cache_bytes), found.batch_size.value)


def explain_engine(config: Config) -> str:
    """The plan for `engine.card`, or for this machine's first GPU, else for its CPU, as text.

    Raises:
        UserError: no such card, or a choice that cannot be had on it.
    """
    if config.engine.name is EngineName.random:
        raise UserError("engine.explain: engine=random has no networks; choose another engine")
    model = open_model(config)
    if config.engine.card is not None:
        hardware = card(config.engine.card)
    else:
        cards = [] if config.device == "cpu" else installed_cards() or []
        if config.device == "gpu" and not cards:
            raise UserError(
                "engine.explain: device=gpu: nvidia-smi shows no card here; name one: "
                "engine.card=a100"
            )
        hardware = cards[0] if cards else _hardware((Device("cpu", "fp32"),))
    side = model.side
    asked = _asked(config, config.precision.name.value, config.width or side, config.height or side)
    return explain(hardware, paddle_line(), _shape(model), asked)


def _asked(config: Config, precision: str, width: int, height: int) -> Asked:
    return Asked(
        width=width,
        height=height,
        engine=config.engine.name.value,
        precision=precision,
        batch_size=config.batch_size,
        guided=config.guidance_scale > 1,
        cinn=config.engine.cinn,
        tensorrt=config.engine.tensorrt,
    )


def _shape(model: Model) -> ModelShape:
    return ModelShape.of(model.checkpoint, model.unet, model.vae)


def _hardware(devices: tuple[Device, ...]) -> Hardware:
    """What the first device is; one with less memory free finds that out as it works."""
    first = devices[0]
    if first.name == "cpu":
        memory = available_memory() // len(devices)
        return Hardware("cpu", None, memory, first.threads, bf16=cpu_has_bf16())
    cards = installed_cards() or cards_by_paddle()
    return cards[int(first.name.partition(":")[2])]
