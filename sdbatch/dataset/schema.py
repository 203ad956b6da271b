"""The metadata's Arrow schema: explicit, never inferred.

One row per planned image. A picture that failed has nulls in the file columns. The prompt table's
own columns follow these, with their own types.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from sdbatch.errors import UserError

STATUSES = ("ok", "failed", "nan", "blank", "oom", "unsafe")
SETTLED = frozenset({"ok", "unsafe"})
"""What trying again would not change."""

COLUMNS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("negative_prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_type", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("file_name", pa.string()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("format", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("pixels_sha256", pa.string()),
        pa.field("aigc_label", pa.string()),
        pa.field("aigc_produce_id", pa.string()),
        pa.field("guidance_rescale", pa.float64(), nullable=False),
        pa.field("text_encoder", pa.string(), nullable=False),
        pa.field("tokenizer", pa.string(), nullable=False),
        pa.field("tokens", pa.int32()),
        pa.field("truncated", pa.string()),
        pa.field("prompt_read", pa.string()),
        pa.field("prompt_translated", pa.string()),
        pa.field("negative_prompt_translated", pa.string()),
        # Parquet calls what is in a list `element`, and so it comes back.
        pa.field("prompt_keywords", pa.list_(pa.field("element", pa.string()))),
        pa.field("init_image", pa.string()),
        pa.field("init_image_sha256", pa.string()),
        pa.field("mask", pa.string()),
        pa.field("mask_sha256", pa.string()),
        pa.field("strength", pa.float64()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("crop_left", pa.int32()),
        pa.field("crop_top", pa.int32()),
        pa.field("target_width", pa.int32()),
        pa.field("target_height", pa.int32()),
        pa.field("clip_score", pa.float64()),
        pa.field("clip_model", pa.string()),
        pa.field("clip_keep", pa.bool_()),
        pa.field("safety_flagged", pa.bool_()),
        pa.field("safety_score", pa.float64()),
        pa.field("safety_action", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("weights_sha256", pa.string(), nullable=False),
        pa.field("scheduler", pa.string(), nullable=False),
        pa.field("steps", pa.int32(), nullable=False),
        pa.field("guidance_scale", pa.float64(), nullable=False),
        pa.field("precision", pa.string(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("batch_size_used", pa.int32(), nullable=False),
        pa.field("latency_s", pa.float64(), nullable=False),
        pa.field("created_at", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)


def dataset_schema(carried: pa.Schema, constants: Mapping[str, str]) -> pa.Schema:
    """Our columns, then the table's own; `constants` become the file's key-value metadata."""
    fields = [*COLUMNS, *(field.remove_metadata() for field in carried)]
    return pa.schema(fields, metadata={f"sdbatch.{k}": v for k, v in constants.items()})


def check_carried(path: Path, carried: pa.Schema) -> None:
    """Refuse a prompt table whose own columns would collide with ours.

    Raises:
        UserError: naming the columns.
    """
    taken = sorted(set(carried.names) & set(COLUMNS.names))
    if taken:
        raise UserError(
            f"{path}: column {', '.join(taken)}: the name is reserved for the metadata; rename it"
        )
