"""What a dataset's folder tells of its shards, and what it says when they are damaged."""

import os
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbatch.dataset.attempts import this_boot
from sdbatch.dataset.shard import DamagedShard, ShardStore
from sdbatch.errors import UserError
from tests.dataset.making import begin, make

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def store(tmp_path):
    return begin(tmp_path / "dataset")


def damaged(read, name: str) -> DamagedShard:
    """The error, which is one line and tells what to do."""
    with pytest.raises(DamagedShard) as error:
        read(name)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert f"{name}/{error.value.file.name}: " in line
    assert "python -m sdbatch.verify " in line and " --discard" in line
    return error.value


class TestFolders:
    def test_are_made_inside_a_dataset_that_is_there(self, tmp_path):
        store = ShardStore(tmp_path)
        store.create()
        store.create()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["_tmp", "repairs", "shards"]

    def test_are_not_made_where_there_is_none(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            ShardStore(tmp_path / "gone").create()
        assert list(tmp_path.iterdir()) == []

    def test_need_not_be_there_for_a_look(self, tmp_path):
        store = ShardStore(tmp_path / "nowhere")
        assert store.done() == set()
        assert store.claimed() == {}
        assert store.repairs_by_shard() == {}
        assert not store.exists("00000")
        store.discard_abandoned()

    def test_of_shards_and_repairs_are_two(self, store):
        make(store, "00000", {"a-000": "failed"})
        make(store, "00000.r10", {"a-000": "failed"})
        make(store, "00000.r2", {"a-000": "ok"})
        assert store.done() == {"00000"}
        assert store.repairs_by_shard() == {"00000": ["00000.r2", "00000.r10"]}
        assert store.exists("00000.r2") and not store.exists("00000.r1")


class TestClaims:
    def test_are_what_somebody_has_in_hand(self, store):
        with store.begin("00042"), store.begin("00007.r1"), store.begin("00042"):
            assert store.claimed() == {"00042": 2, "00007.r1": 1}
        assert store.claimed() == {}

    def test_of_other_machines_count(self, store):
        (store.tmp / f"00003.{socket.gethostname()}.01234567.{os.getpid()}.ab12").mkdir()
        assert store.claimed() == {"00003": 1}

    def test_of_a_process_that_is_gone_do_not(self, store):
        (store.tmp / f"00003.node.{this_boot()}.{2**22 + 1}.ab12").mkdir()  # above any pid
        assert store.claimed() == {}

    def test_that_are_silent_do_not_count_where_that_is_asked_for(self, store):
        with store.begin("00001"), store.begin("00002"):
            for path in (store.tmp.glob("00001.*"), store.tmp.glob("00001.*/images")):
                for folder in path:
                    os.utime(folder, (1e9, 1e9))
            assert store.claimed() == {"00001": 1, "00002": 1}
            assert store.claimed(silent_s=60) == {"00002": 1}


class TestDamage:
    @pytest.fixture
    def shard(self, store):
        make(store, "00000", {"a-000": "ok", "b-000": "failed"})
        return store.place("00000")

    def test_of_metadata_that_are_missing(self, store, shard):
        (shard / "metadata.parquet").unlink()
        assert damaged(store.read_metadata, "00000").kind == "missing"

    def test_of_a_shard_that_is_a_file(self, store):
        (store.shards / "00001").write_text("not a shard")
        assert damaged(store.read_metadata, "00001").kind == "missing"

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"])
    def test_of_metadata_that_are_no_parquet(self, store, shard, content):
        (shard / "metadata.parquet").write_bytes(content)
        assert damaged(store.read_metadata, "00000").kind == "torn"

    @given(data=st.data())
    @PATIENT
    def test_of_metadata_that_are_cut_off(self, store, shard, data):
        path = shard / "metadata.parquet"
        whole = path.read_bytes()
        try:
            path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
            assert damaged(store.read_metadata, "00000").kind == "torn"
        finally:
            path.write_bytes(whole)

    @given(data=st.data())
    @PATIENT
    def test_of_a_value_in_the_metadata_never_goes_unseen(self, store, shard, data):
        path = shard / "metadata.parquet"
        whole, rows = path.read_bytes(), store.read_metadata("00000")
        columns = pq.read_metadata(path).row_group(0)
        column = columns.column(data.draw(st.integers(0, columns.num_columns - 1)))
        start = column.dictionary_page_offset or column.data_page_offset
        place = start + data.draw(st.integers(0, column.total_compressed_size - 1))
        bits = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
        try:
            path.write_bytes(whole[:place] + bits + whole[place + 1 :])
            try:
                assert store.read_metadata("00000") == rows  # a byte that says nothing
            except DamagedShard as error:
                assert error.kind == "torn"
        finally:
            path.write_bytes(whole)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"null", b'{"a": 1} x'])
    def test_of_a_record(self, store, shard, content):
        (shard / "shard.json").write_bytes(content)
        assert damaged(store.read_record, "00000").kind == "torn"
        (shard / "shard.json").unlink()
        assert damaged(store.read_record, "00000").kind == "missing"

    def test_of_a_repair_is_damage_of_what_is_current(self, store, shard):
        make(store, "00000.r1", {"b-000": "ok"})
        (store.repairs / "00000.r1" / "metadata.parquet").write_bytes(b"")
        with pytest.raises(DamagedShard, match=r"repairs/00000\.r1/metadata\.parquet"):
            store.current("00000", ["00000.r1"])


class TestCurrent:
    def test_rows_are_those_of_the_shard_with_what_was_repaired(self, store):
        make(store, "00000", {"a-000": "ok", "b-000": "failed", "c-000": "blank"})
        make(store, "00000.r1", {"b-000": "ok", "c-000": "oom"})
        rows = store.current("00000", ["00000.r1"]).to_pylist()
        assert [(row["image_id"], row["status"]) for row in rows] == [
            ("a-000", "ok"), ("b-000", "ok"), ("c-000", "oom"),
        ]  # fmt: skip
        assert rows[1]["file_name"] == "repairs/00000.r1/images/b-000.png"
        assert {row["shard_id"] for row in rows} == {"00000"}

    def test_repairs_with_other_columns_are_refused(self, store):
        make(store, "00000", {"a-000": "failed"})
        make(store, "00000.r1", {"a-000": "ok"})
        path = store.repairs / "00000.r1" / "metadata.parquet"
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.set_column(table.num_columns - 1, "topic", pa.array([7])), path)
        expected = r"00000\.r1: not like .* column topic: expected string, found int64"
        with pytest.raises(UserError, match=expected):
            store.current("00000", ["00000.r1"])


def test_what_is_discarded_is_gone_at_once_and_can_be_made_again(store):
    make(store, "00000", {"a-000": "ok"})
    make(store, "00000.r1", {"a-000": "ok"})
    (store.shards / "00001").write_text("not a shard")
    for name in ("00000", "00000.r1", "00001"):
        store.discard(name)
    assert store.done() == set()
    assert store.repairs_by_shard() == {}
    assert list(store.tmp.iterdir()) == []
    make(store, "00000", {"a-000": "ok"})
