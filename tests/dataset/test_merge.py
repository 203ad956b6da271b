"""Finished shards become one metadata table, in plan order, that any Parquet reader can use."""

import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.dataset import merge as merging
from sdbatch.dataset.merge import ShardsMissing, Summary, merge
from sdbatch.dataset.schema import dataset_schema
from sdbatch.dataset.shard import DamagedShard
from sdbatch.errors import UserError
from tests.dataset.making import SCHEMA, a_plan, begin, make, make_all, picture
from tests.examples import many_columns, metadata_row

STATUSES = ["ok", "ok", "failed", "ok", "nan", "blank", "ok", "oom", "ok", "ok"]


@pytest.fixture
def store(tmp_path):
    return begin(tmp_path / "dataset")


@pytest.fixture
def merged(store):
    """A dataset of ten rows in three shards, and merged."""
    make_all(store, a_plan(), STATUSES)
    return merge(store, a_plan(), SCHEMA)


def summary_of(store) -> dict:
    return json.loads((store.folder / "summary.json").read_text())


def test_rows_stand_in_plan_order(store, merged):
    table = pq.read_table(store.folder / "metadata.parquet")
    assert table.column("image_id").to_pylist() == [f"{row}-000" for row in range(10)]
    assert table.column("shard_id").to_pylist() == ["00000"] * 4 + ["00001"] * 4 + ["00002"] * 2


def test_every_planned_image_is_one_of_the_outcomes(merged):
    assert merged.counts == {"ok": 6, "failed": 1, "nan": 1, "blank": 1, "oom": 1}
    assert merged.errors == {"BadImage": 1, "MemoryError": 1}
    assert merged.planned == sum(merged.counts.values()) == 10
    assert merged.ok == 6
    assert merged.complete
    assert merged.line() == "10 planned = 6 ok + 1 failed + 1 nan + 1 blank + 1 oom"


def test_the_summary_says_so_too(store, merged):
    assert summary_of(store) == {
        "fingerprint": a_plan().settings.fingerprint,
        "planned": 10,
        "counts": {"blank": 1, "failed": 1, "nan": 1, "ok": 6, "oom": 1},
        "errors": {"BadImage": 1, "MemoryError": 1},
        "complete": True,
        "rows": 10,
        "shards": 3,
        "repairs": 0,
        "stages": {},
        "device_busy": None,
        "device_seconds": 0.0,
        "peak_memory_mb": None,
        "peak_device_memory_mb": None,
    }


def test_the_summary_tells_what_shards_and_repairs_took(store):
    stages = {"denoise": 3.0, "wait": 1.0}
    make(store, "00000", {"0-000": "failed"}, seconds=4.0, stages=stages, peak_memory_mb=100)
    make(store, "00000.r1", {"0-000": "ok"}, seconds=4.0, stages=stages, peak_memory_mb=300)
    merge(store, a_plan(rows=1))
    found = summary_of(store)
    assert (found["repairs"], found["device_seconds"], found["device_busy"]) == (1, 8.0, 0.75)
    assert (found["stages"], found["peak_memory_mb"]) == ({"denoise": 6.0, "wait": 2.0}, 300)


def test_what_was_repaired_counts_as_it_is_now(store):
    make_all(store, a_plan(), STATUSES)
    make(store, "00001.r1", {"4-000": "ok", "5-000": "blank", "7-000": "oom"})
    make(store, "00001.r2", {"5-000": "failed", "7-000": "ok"})
    found = merge(store, a_plan())
    assert found.counts == {"ok": 8, "failed": 2}
    assert found.errors == {"BadImage": 2}
    assert found.complete
    rows = pq.read_table(store.folder / "metadata.parquet").to_pylist()
    assert [row["image_id"] for row in rows] == [f"{number}-000" for number in range(10)]
    assert (store.folder / rows[4]["file_name"]).read_bytes() == picture("4-000")
    assert rows[7]["file_name"] == "repairs/00001.r2/images/7-000.png"


@given(st.dictionaries(st.sampled_from(["ok", "failed", "nan", "blank", "oom"]), st.integers(1)))
@settings(deadline=None)
def test_the_proof_adds_up_on_its_face(counts):
    line = Summary(sum(counts.values()), counts, {}).line()
    planned, _, outcomes = line.partition(" planned = ")
    assert int(planned) == sum(int(part.split()[0]) for part in outcomes.split(" + "))


class TestIncomplete:
    def test_rows_that_are_missing_are_told(self, store):
        make(store, "00000", {"0-000": "ok", "1-000": "ok", "2-000": "ok"})
        found = merge(store, a_plan(rows=3, images=5))
        assert not found.complete
        assert found.line() == "5 planned is not 3 ok"
        assert summary_of(store)["complete"] is False

    def test_nothing_appears_while_shards_are_missing(self, store):
        make(store, "00001", {"4-000": "ok"})
        with pytest.raises(ShardsMissing, match=r"dataset: 2 of 3 shards are missing: 00000, 0000"):
            merge(store, a_plan())
        names = [path.name for path in store.folder.iterdir()]
        assert sorted(names) == ["_tmp", "repairs", "run.json", "shards"]

    def test_the_first_five_are_named(self, store):
        expected = r"20 of 20 shards are missing: 00000, 00001, 00002, 00003, 00004, \.\.\.$"
        with pytest.raises(ShardsMissing, match=expected):
            merge(store, a_plan(rows=20, shard_size=1))


class TestRefusal:
    """A shard that is not what it should be, named; nothing appears."""

    @pytest.fixture
    def shard(self, store):
        make_all(store, a_plan(), STATUSES)
        return store.shards / "00001"

    def refused(self, store, error, match: str):
        with pytest.raises(error, match=match):
            merge(store, a_plan())
        assert not (store.folder / "metadata.parquet").exists()
        assert not any(path.name.startswith(".") for path in store.folder.iterdir())

    def rewrite(self, shard, change):
        path = shard / "metadata.parquet"
        pq.write_table(change(pq.read_table(path, partitioning=None)), path)

    def test_of_metadata_that_are_torn(self, store, shard):
        (shard / "metadata.parquet").write_bytes(b"PAR1")
        self.refused(store, DamagedShard, r"00001/metadata\.parquet: is not a whole Parquet file")

    def test_of_a_record_that_is_missing(self, store, shard):
        (shard / "shard.json").unlink()
        self.refused(store, DamagedShard, r"00001/shard\.json: is missing")

    def test_of_a_column_that_is_missing(self, store, shard):
        self.rewrite(shard, lambda table: table.drop_columns(["topic"]))
        self.refused(store, UserError, "00001: not .* column topic: expected string, found none")

    def test_of_a_column_of_another_type(self, store, shard):
        numbers = pa.array([1, 2, 3, 4])
        self.rewrite(shard, lambda table: table.set_column(table.num_columns - 1, "topic", numbers))
        self.refused(store, UserError, "00001: not .* topic: expected string, found int64")

    def test_of_two_rows_of_one_image(self, store, shard):
        self.rewrite(shard, lambda table: pa.concat_tables([table, table.slice(2, 1)]))
        self.refused(store, UserError, "00001: expected one row for each image, .* for 6-000")

    def test_of_rows_of_another_shard(self, store, shard):
        (shard / "metadata.parquet").write_bytes(
            (store.shards / "00002" / "metadata.parquet").read_bytes()
        )
        self.refused(store, UserError, "00001: expected rows of shard 00001, found 00002")


def test_merging_again_changes_nothing(store, merged):
    first = (store.folder / "metadata.parquet").read_bytes()
    assert merge(store, a_plan(), SCHEMA) == merged
    assert (store.folder / "metadata.parquet").read_bytes() == first
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "_tmp", "metadata.parquet", "repairs", "run.json", "shards", "summary.json",
    ]  # fmt: skip


def test_the_schema_is_the_datasets(store, merged):
    schema = pq.read_schema(store.folder / "metadata.parquet")
    assert schema.equals(SCHEMA, check_metadata=True)


def test_the_schema_need_not_be_given(store, merged):
    first = (store.folder / "metadata.parquet").read_bytes()
    merge(store, a_plan())
    assert (store.folder / "metadata.parquet").read_bytes() == first


@pytest.mark.parametrize("group_bytes", [1, 3000, 2**26])
def test_row_groups_hold_whole_shards_up_to_their_size(store, merged, monkeypatch, group_bytes):
    rows = pq.read_table(store.folder / "metadata.parquet")
    monkeypatch.setattr(merging, "_ROW_GROUP_BYTES", group_bytes)
    merge(store, a_plan())
    file = pq.ParquetFile(store.folder / "metadata.parquet")
    assert file.read() == rows
    assert (file.num_row_groups == 1) == (group_bytes == 2**26)


def test_carried_columns_keep_types_and_values(store):
    carried = many_columns()
    schema = dataset_schema(carried.schema, {})
    for shard, own in enumerate(carried.to_pylist()):
        name = f"{shard:05d}"
        with store.begin(name) as writer:
            row = metadata_row(f"{shard}-000", shard_id=name, **own)
            writer.commit([row], schema, {})
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
    assert topics == [("主题 4-000",)]


def test_hugging_face_datasets_reads_it(store, merged, tmp_path):
    import datasets  # slow to import, and needed only here

    loaded = datasets.Dataset.from_parquet(
        str(store.folder / "metadata.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert loaded["image_id"] == [f"{row}-000" for row in range(10)]
    assert loaded.features["seed"].dtype == "int64"
    assert (store.folder / loaded[0]["file_name"]).read_bytes() == picture("0-000")
