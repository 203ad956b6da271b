"""Images made again from nothing but their metadata rows, and compared with their files.

What a row does not say (where the checkpoint lies, how text is read) comes from the config that
the last run recorded, and must agree with `run.json`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from sdbatch import config
from sdbatch.config import Config
from sdbatch.dataset.existing import open_dataset
from sdbatch.dataset.images import ImageFormat, blurred, encode, to_bytes
from sdbatch.dataset.shard import ShardStore
from sdbatch.engine.device import RANDOM, choose_devices, cpu_devices
from sdbatch.errors import UserError, one_line
from sdbatch.inputs import BadImage, ImageLimits, ImageRef
from sdbatch.plan import NUMERICS_VERSION, Settings
from sdbatch.request import ImageRequest, SizeHints
from sdbatch.runner.batches import Engine
from sdbatch.runner.engine_options import settle_engine
from sdbatch.runner.engines import open_engine
from sdbatch.runner.inputs import load_inputs
from sdbatch.runner.labelling import open_label
from sdbatch.runner.model import open_model
from sdbatch.stopwatch import Stopwatch

_EXACT, _LOSSY = 1, 8
"""Of 255: the size of a micro-batch may round a value the other way, which JPEG then enlarges."""


@dataclass(frozen=True)
class Remade:
    """One image made again.

    Attributes:
        image_id: its own.
        difference: the largest, of 255; None where it could not be made.
        allowed: the largest that is none.
        why_not: why it could not be made.
    """

    image_id: str
    difference: int | None
    allowed: int = 0
    why_not: str = ""

    @property
    def equal(self) -> bool:
        """Whether it is the picture in the file."""
        return self.difference is not None and self.difference <= self.allowed


def regenerate(
    folder: Path, count: int, overrides: Sequence[str] = (), seed: int | None = None
) -> Iterator[Remade]:
    """Make random images of a dataset again, one by one.

    Args:
        folder: the dataset's.
        count: how many; fewer where there are fewer.
        overrides: changes to the recorded config, as `model.path=/elsewhere`.
        seed: of the choice of images.

    Raises:
        UserError: not a dataset, no recorded config, or a model that is not the dataset's.
    """
    store, plan = open_dataset(folder)
    job = _recorded_config(folder, overrides)
    engine = _open_engine(job, plan.settings, folder)
    label = open_label(job.label)
    load = partial(
        load_inputs,
        folder=Path(job.prompts.path).parent,
        limits=ImageLimits(job.max_input_mb * 10**6, job.max_input_megapixels * 10**6),
    )
    for row in _random_rows(store, count, random.Random(seed)):
        try:
            request = _request(row)
            inputs = load(request)
            if (inputs.init_sha256, inputs.mask_sha256) != (
                row["init_image_sha256"], row["mask_sha256"]
            ):  # fmt: skip
                raise BadImage("the init image or the mask is another one now")
            pixels = engine.generate([request], [inputs.pixels], Stopwatch())[0]
        except (BadImage, RuntimeError, MemoryError, ValueError) as error:
            yield Remade(row["image_id"], None, why_not=one_line(error))
            continue
        form = ImageFormat.from_label(plan.settings.image_format)
        made = pixels if pixels.dtype == np.uint8 else to_bytes(pixels)
        if row["safety_action"] == "blur":
            made = blurred(made)
        if label is not None and row["aigc_label"]:
            made = label.drawn(made)
        difference = _difference(made, form, folder / row["file_name"])
        yield Remade(row["image_id"], difference, _EXACT if form.exact else _LOSSY)


def _recorded_config(folder: Path, overrides: Sequence[str]) -> Config:
    """What the last run was asked for."""
    found = folder.glob("logs/*/.hydra/config.yaml")
    # A run that was killed at its start may have left an empty one.
    records = sorted(
        (path for path in found if path.stat().st_size), key=lambda path: path.stat().st_mtime
    )
    if not records:
        raise UserError(f"{folder}: no logs/*/.hydra/config.yaml; expected one of the run's")
    config.register()  # the recorded values may name our resolvers
    try:
        recorded = OmegaConf.load(records[-1])
        recorded.pop("experiment", None)
        changed = OmegaConf.merge(
            OmegaConf.structured(Config), recorded, OmegaConf.from_dotlist(list(overrides))
        )
        return config.validate(changed)
    except (OmegaConfBaseException, ValueError, OSError) as error:
        raise UserError(f"{records[-1]}: {one_line(error)}") from error


def _open_engine(job: Config, settings: Settings, folder: Path) -> Engine:
    """The engine of the dataset's model and precision."""
    model = open_model(job)
    size = (settings.width, settings.height)
    if settings.precision == RANDOM:
        device = cpu_devices(1, RANDOM)[0]
        return open_engine(settle_engine(job, model, (device,), size).options, model, device)
    device = choose_devices(job.device, "auto", "auto", settings.precision)[0]
    found = {**model.settings(device.precision), "numerics_version": NUMERICS_VERSION}
    changed = [name for name, value in found.items() if value != getattr(settings, name)]
    if changed:
        raise UserError(
            f"{folder}/run.json: the dataset was made with another {', '.join(changed)}; "
            "expected the same model and sdbatch"
        )
    return open_engine(settle_engine(job, model, (device,), size).options, model, device)


def _random_rows(
    store: ShardStore, count: int, chance: random.Random
) -> Iterator[Mapping[str, Any]]:
    """Rows of images that are there, of as many shards as possible."""
    names, repairs = sorted(store.done()), store.repairs_by_shard()
    chance.shuffle(names)
    share = -(-count // max(1, len(names)))
    for name in names:
        rows = store.current(name, repairs.get(name, [])).to_pylist()
        there = [row for row in rows if row["status"] == "ok"]
        for row in chance.sample(there, min(share, len(there), count)):
            count -= 1
            yield row
        if count <= 0:
            return


def _request(row: Mapping[str, Any]) -> ImageRequest:
    """What the row says was asked for.

    Raises:
        BadImage: the picture it began with was inside the prompt table.
    """
    if row["init_image_sha256"] and not row["init_image"]:
        raise BadImage("its init image was inside the prompt table")
    sizes = None
    if row["original_width"] is not None:
        sizes = SizeHints(**{item.name: row[item.name] for item in fields(SizeHints)})
    plain = {
        item.name: row[item.name]
        for item in fields(ImageRequest)
        if item.name in row and item.name not in ("init_image", "mask")
    }
    return ImageRequest(
        **plain,
        translation=row["prompt_translated"],
        negative_translation=row["negative_prompt_translated"],
        init_image=ImageRef.from_cell(row["init_image"]),
        mask=ImageRef.from_cell(row["mask"]),
        sizes=sizes,
    )


def _difference(made: np.ndarray, form: ImageFormat, file: Path) -> int:
    """The largest difference from the file's pixels, of 255, after the same encoding."""
    if not form.exact:
        made = _decoded(BytesIO(encode(made, "", form)))
    found = _decoded(file)
    if found.shape != made.shape:
        return 255
    return int(np.abs(found.astype(np.int16) - made).max())


def _decoded(file: Path | BytesIO) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
