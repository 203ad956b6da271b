"""The metadata's columns: named here once, typed, never inferred."""

from pathlib import Path

import pyarrow as pa
import pytest

from sdbatch.dataset.schema import COLUMNS, STATUSES, check_carried, dataset_schema
from sdbatch.errors import UserError
from tests.examples import many_columns, metadata_row

CONTRACT = """
    image_id prompt_id sample_index prompt negative_prompt seed shard_id fingerprint
    status error_type error_message attempts
    file_name width height format bytes sha256 pixels_sha256 aigc_label aigc_produce_id
    guidance_rescale text_encoder tokenizer tokens truncated
    prompt_read prompt_translated negative_prompt_translated
    prompt_keywords init_image init_image_sha256 mask mask_sha256 strength
    original_width original_height crop_left crop_top target_width target_height
    clip_score clip_model clip_keep safety_flagged safety_score safety_action
    model weights_sha256 scheduler steps guidance_scale precision engine device
    batch_size_used latency_s created_at
"""


def test_columns_are_those_of_the_contract_in_its_order():
    assert CONTRACT.split() == COLUMNS.names


def test_seeds_have_64_bits_and_times_a_zone():
    assert COLUMNS.field("seed").type == pa.int64()
    assert COLUMNS.field("created_at").type == pa.timestamp("ms", tz="UTC")


def test_only_outcome_file_and_conditioning_columns_may_be_null():
    nullable = [field.name for field in COLUMNS if field.nullable]
    assert nullable[:9] == [
        "error_type", "error_message", "file_name", "format", "bytes", "sha256", "pixels_sha256",
        "aigc_label", "aigc_produce_id",
    ]  # fmt: skip
    conditioning = COLUMNS.names[COLUMNS.names.index("tokens") : COLUMNS.names.index("model")]
    assert nullable[9:] == conditioning


def test_a_failed_picture_has_a_row():
    table = pa.Table.from_pylist([metadata_row("a-000")], schema=COLUMNS)
    table.validate(full=True)
    assert table.select(["file_name", "bytes", "sha256"]).to_pylist() == [
        {"file_name": None, "bytes": None, "sha256": None}
    ]


def test_statuses_are_those_of_the_contract():
    assert STATUSES == ("ok", "failed", "nan", "blank", "oom", "unsafe")


def test_the_tables_own_columns_follow_with_their_types():
    carried = many_columns().schema
    schema = dataset_schema(carried, {})
    assert schema.names == [*COLUMNS.names, *carried.names]
    assert schema.types[len(COLUMNS) :] == carried.types


def test_constants_become_file_metadata():
    schema = dataset_schema(pa.schema([]), {"model": "太乙", "noise": "torch_cpu"})
    assert schema.metadata == {b"sdbatch.model": "太乙".encode(), b"sdbatch.noise": b"torch_cpu"}


@pytest.mark.parametrize("name", sorted(set(COLUMNS.names)))
def test_our_names_are_reserved(name):
    with pytest.raises(UserError, match=f"^a.parquet: column {name}: the name is reserved"):
        check_carried(Path("a.parquet"), pa.schema([("topic", pa.string()), (name, pa.int64())]))


def test_all_collisions_are_named_at_once():
    carried = pa.schema([("status", pa.string()), ("topic", pa.string()), ("model", pa.string())])
    with pytest.raises(UserError, match="column model, status: "):
        check_carried(Path("a.parquet"), carried)


def test_other_names_are_free():
    check_carried(Path("a.parquet"), many_columns().schema)
