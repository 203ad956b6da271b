"""Finished shards become one metadata table, in plan order, that any Parquet reader can use."""

import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdbatch.dataset.merge import merge
from sdbatch.dataset.schema import dataset_schema
from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import Plan
from tests.examples import many_columns, metadata_row, some_settings

SCHEMA = dataset_schema(pa.schema([("topic", pa.string())]), {"model": "demo"})
STATUSES = ["ok", "ok", "failed", "ok", "nan", "blank", "ok", "oom", "ok", "ok"]


def a_plan(rows: int = 10, shard_size: int = 4) -> Plan:
    return Plan(some_settings(), rows=rows, images=rows, shard_size=shard_size)


def make_shard(store: ShardStore, plan: Plan, shard: int) -> None:
    name = plan.shard_name(shard)
    with store.begin(name) as writer:
        rows = []
        for row in range(*plan.shard_rows(shard)):
            image_id, status = f"{row}-000", STATUSES[row]
            made = writer.add_image(image_id, image_id.encode()) if status == "ok" else {}
            own = {"status": status, "shard_id": name, "topic": f"主题 {row}", **made}
            rows.append(metadata_row(image_id, **own))
        writer.commit(rows, SCHEMA, {})


@pytest.fixture
def store(tmp_path):
    return ShardStore(tmp_path / "dataset")


@pytest.fixture
def merged(store):
    """A dataset of ten rows in three shards, made last to first, and merged."""
    plan = a_plan()
    for shard in reversed(range(plan.shards)):
        make_shard(store, plan, shard)
    return merge(store, plan, SCHEMA)


def test_rows_stand_in_plan_order(store, merged):
    table = pq.read_table(store.folder / "metadata.parquet")
    assert table.column("image_id").to_pylist() == [f"{row}-000" for row in range(10)]
    assert table.column("shard_id").to_pylist() == ["00000"] * 4 + ["00001"] * 4 + ["00002"] * 2


def test_every_planned_image_is_one_of_the_outcomes(merged):
    assert merged.counts == {"ok": 6, "failed": 1, "nan": 1, "blank": 1, "oom": 1}
    assert merged.planned == sum(merged.counts.values()) == 10
    assert merged.ok == 6
    assert merged.complete


def test_the_summary_says_so_too(store, merged):
    assert json.loads((store.folder / "summary.json").read_text()) == {
        "fingerprint": some_settings().fingerprint,
        "planned": 10,
        "counts": {"blank": 1, "failed": 1, "nan": 1, "ok": 6, "oom": 1},
        "complete": True,
        "rows": 10,
        "shards": 3,
    }


def test_rows_that_are_missing_make_it_incomplete(store):
    make_shard(store, a_plan(rows=3), 0)
    plan = Plan(some_settings(), rows=3, images=5, shard_size=4)
    assert not merge(store, plan, SCHEMA).complete
    assert json.loads((store.folder / "summary.json").read_text())["complete"] is False


def test_nothing_appears_while_a_shard_is_missing(store):
    make_shard(store, a_plan(), 0)
    with pytest.raises(FileNotFoundError):
        merge(store, a_plan(), SCHEMA)
    assert sorted(path.name for path in store.folder.iterdir()) == ["_tmp", "shards"]


def test_merging_again_changes_nothing(store, merged):
    first = (store.folder / "metadata.parquet").read_bytes()
    assert merge(store, a_plan(), SCHEMA) == merged
    assert (store.folder / "metadata.parquet").read_bytes() == first
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "_tmp", "metadata.parquet", "shards", "summary.json",
    ]  # fmt: skip


def test_the_schema_is_the_datasets(store, merged):
    schema = pq.read_schema(store.folder / "metadata.parquet")
    assert schema.equals(SCHEMA, check_metadata=True)


def test_carried_columns_keep_types_and_values(store):
    carried = many_columns()
    schema = dataset_schema(carried.schema, {})
    for shard, own in enumerate(carried.to_pylist()):
        with store.begin(f"{shard:05d}") as writer:
            writer.commit([metadata_row(f"{shard}-000", **own)], schema, {})
    merge(store, a_plan(rows=2, shard_size=1), schema)
    table = pq.read_table(store.folder / "metadata.parquet").select(carried.schema.names)
    assert table.to_pylist() == carried.to_pylist()
    for field in carried.schema:
        if not pa.types.is_nested(field.type):  # Parquet renames what is inside lists and maps
            assert table.schema.field(field.name).type == field.type


def test_duckdb_reads_it(store, merged):
    path = store.folder / "metadata.parquet"
    counts = duckdb.sql(f"SELECT status, count(*) FROM '{path}' GROUP BY ALL").fetchall()
    assert dict(counts) == merged.counts
    topics = duckdb.sql(f"SELECT topic FROM '{path}' WHERE status = 'nan'").fetchall()
    assert topics == [("主题 4",)]


def test_hugging_face_datasets_reads_it(store, merged, tmp_path):
    import datasets  # slow to import, and needed only here

    loaded = datasets.Dataset.from_parquet(
        str(store.folder / "metadata.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert loaded["image_id"] == [f"{row}-000" for row in range(10)]
    assert loaded.features["seed"].dtype == "int64"
    assert (store.folder / loaded[0]["file_name"]).read_bytes() == b"0-000"
