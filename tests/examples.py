"""Made-up settings, rows, pictures and columns that tests of several packages share."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pyarrow as pa

from sdbatch.plan import Settings
from sdbatch.prompts import PromptRow
from sdbatch.prompts.checks import SIZE_HINTS
from sdbatch.request import ImageRequest


def a_row(**changes: Any) -> PromptRow:
    """Row 0 of a table that has nothing but a prompt, unless told otherwise."""
    values = {
        "index": 0,
        "id": "0",
        "prompt": "a red star",
        "negative_prompt": None,
        "seed": None,
        "width": None,
        "height": None,
        "steps": None,
        "guidance_scale": None,
        "guidance_rescale": None,
        "strength": None,
        "images_per_prompt": None,
        "init_image": None,
        "mask": None,
        **dict.fromkeys(SIZE_HINTS),
        "carried": {},
    }
    return PromptRow(**{**values, **changes})


def some_settings(**changes: Any) -> Settings:
    values = {
        "family": "sd1",
        "weights_sha256": "a" * 64,
        "model_config_sha256": "b" * 64,
        "loras": "",
        "embeddings": "",
        "scheduler": "ddim",
        "scheduler_settings": {"solver": "ddim", "eta": 0.0},
        "steps": 20,
        "guidance_scale": 7.5,
        "guidance_rescale": 0.0,
        "strength": None,
        "width": 96,
        "height": 64,
        "negative_prompt": "",
        "text": {"clip_skip": 0},
        "images_per_prompt": 1,
        "precision": "fp32",
        "seed": 0,
        "noise": "torch_cpu",
        "image_format": "png",
        "label": {},
        "safety": {},
        "table_sha256": "c" * 64,
        "numerics_version": 2,
    }
    return Settings(**{**values, **changes})


def a_request(**changes: Any) -> ImageRequest:
    values = {
        "prompt": "a red star",
        "negative_prompt": "",
        "seed": 7,
        "width": 96,
        "height": 64,
        "steps": 20,
        "guidance_scale": 7.5,
    }
    return ImageRequest(**{**values, **changes})


def a_picture(height: int = 64, width: int = 96) -> np.ndarray:
    """float32 [height, width, 3] in 0..1: a slope from corner to corner."""
    ramp = np.linspace(0, 1, height * width * 3, dtype=np.float32)
    return ramp.reshape(height, width, 3)


def metadata_row(image_id: str, **changes: Any) -> dict[str, Any]:
    """A row of a picture that failed; its file columns are null unless `changes` fill them."""
    prompt_id, _, sample = image_id.rpartition("-")
    values = {
        "image_id": image_id,
        "prompt_id": prompt_id,
        "sample_index": int(sample),
        "prompt": "a red star",
        "negative_prompt": "",
        "seed": 7,
        "shard_id": "00000",
        "fingerprint": "f" * 64,
        "status": "failed",
        "attempts": 1,
        "width": 96,
        "height": 64,
        "model": "demo",
        "family": "sd1",
        "text_encoder": "clip",
        "tokenizer": "clip-bpe",
        "weights_sha256": "a" * 64,
        "scheduler": "ddim",
        "steps": 20,
        "guidance_scale": 7.5,
        "guidance_rescale": 0.0,
        "precision": "fp32",
        "engine": "dygraph",
        "device": "cpu",
        "batch_size_used": 1,
        "latency_s": 0.5,
        "created_at": dt.datetime(2026, 1, 1, 20, 0, tzinfo=dt.timezone.utc),
    }
    return {**values, **changes}


def many_columns() -> pa.Table:
    """Two rows of what a user's own columns may be: a value, then a null."""
    nanosecond = np.datetime64("2026-01-01T00:00:00.123456789")
    return pa.table(
        {
            "bool": pa.array([True, None]),
            "int8": pa.array([-1, None], pa.int8()),
            "uint64": pa.array([2**64 - 1, None], pa.uint64()),
            "float32": pa.array([0.1, None], pa.float32()),
            "float64": pa.array([1e300, None]),
            "decimal": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(9, 2)),
            "string": pa.array(["上海，日落", None]),
            "large_string": pa.array(["a\nb", None], pa.large_string()),
            "binary": pa.array([b"\x00\xff", None]),
            "fixed_binary": pa.array([b"ab", None], pa.binary(2)),
            "date": pa.array([dt.date(2026, 1, 1), None]),
            "time": pa.array([dt.time(1, 2, 3, 4), None], pa.time64("us")),
            "timestamp": pa.array([dt.datetime(2026, 1, 1), None], pa.timestamp("ms")),
            "timestamp_ns": pa.array([nanosecond, None], pa.timestamp("ns")),
            "timestamp_tz": pa.array(
                [dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), None],
                pa.timestamp("us", "Asia/Shanghai"),
            ),
            "duration": pa.array([dt.timedelta(seconds=1, microseconds=3), None]),
            "list": pa.array([["a", None, ""], None]),
            "large_list": pa.array([[1, 2], None], pa.large_list(pa.int32())),
            "struct": pa.array([{"a": 1, "b": [{"c": "x"}]}, None]),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "category": pa.array(["red", None]).dictionary_encode(),
            "nothing": pa.array([None, None]),
        }
    )
