"""A shard appears whole, by one rename, or not at all."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdbatch.dataset.schema import dataset_schema
from sdbatch.dataset.shard import ShardCorrupt, ShardStore, ShardWriter
from tests.examples import metadata_row

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = dataset_schema(pa.schema([("score", pa.float64())]), {"model": "demo"})


@pytest.fixture
def store(tmp_path):
    return ShardStore(tmp_path)


def fill(writer: ShardWriter, data: bytes = b"pixels") -> list[dict]:
    """One picture that is there and one that failed; returns their rows."""
    made = writer.add_image("a-000", data)
    return [metadata_row("a-000", status="ok", **made), metadata_row("b-000")]


def make(store: ShardStore, name: str = "00000", data: bytes = b"pixels") -> bool:
    with store.begin(name) as writer:
        return writer.commit(fill(writer, data), SCHEMA, {"seconds": 1.5})


def leftovers(store: ShardStore) -> list:
    return sorted((store.folder / "_tmp").rglob("*"))


def assert_whole(store: ShardStore, name: str) -> None:
    """The shard's images are exactly those its metadata tell of."""
    rows = store.read_metadata(name).to_pylist()
    files = [row for row in rows if row["file_name"]]
    for row in files:
        data = (store.folder / row["file_name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
    assert len(list((store.shards / name / "images").iterdir())) == len(files)
    assert json.loads((store.shards / name / "shard.json").read_text())["images"] == len(rows)


class TestCommit:
    def test_nothing_is_visible_before_it(self, store):
        with store.begin("00000") as writer:
            rows = fill(writer)
            assert store.done() == set()
            assert not store.shards.exists()
            writer.commit(rows, SCHEMA, {})
            assert store.done() == {"00000"}

    def test_makes_images_and_metadata_visible_together(self, store):
        assert make(store) is True
        assert {path.name for path in (store.shards / "00000").iterdir()} == {
            "images", "metadata.parquet", "shard.json",
        }  # fmt: skip
        assert_whole(store, "00000")
        assert leftovers(store) == []

    def test_file_names_lead_from_the_dataset_folder_to_the_images(self, store):
        make(store, "00042", b"abc")
        ok, failed = store.read_metadata("00042").to_pylist()
        assert ok["file_name"] == "shards/00042/images/a-000.png"
        assert (store.folder / ok["file_name"]).read_bytes() == b"abc"
        assert (ok["format"], ok["bytes"]) == ("png", 3)
        assert ok["sha256"] == hashlib.sha256(b"abc").hexdigest()
        assert [failed[name] for name in ("file_name", "format", "bytes", "sha256")] == [None] * 4

    def test_metadata_have_the_schema_they_were_given(self, store):
        make(store)
        schema = pq.read_schema(store.shards / "00000" / "metadata.parquet")
        assert schema.equals(SCHEMA, check_metadata=True)

    def test_the_record_tells_counts_timings_and_attempt(self, store):
        with store.begin("00000") as writer:
            writer.commit(fill(writer), SCHEMA, {"seconds": 1.5})
        record = json.loads((store.shards / "00000" / "shard.json").read_text())
        assert record == {
            "shard": "00000", "attempt": writer.attempt, "images": 2,
            "counts": {"ok": 1, "failed": 1}, "seconds": 1.5,
        }  # fmt: skip

    def test_image_names_may_be_chinese(self, store):
        with store.begin("00000") as writer:
            made = writer.add_image("形状-001-000", b"abc")
            writer.commit([metadata_row("形状-001-000", **made)], SCHEMA, {})
        assert (store.shards / "00000" / "images" / "形状-001-000.png").read_bytes() == b"abc"

    def test_carried_values_may_be_nan(self, store):
        with store.begin("00000") as writer:
            rows = [metadata_row("a-000", score=float("nan")), metadata_row("b-000", score=None)]
            assert writer.commit(rows, SCHEMA, {})
        scores = store.read_metadata("00000").column("score")
        assert scores.is_nan().to_pylist() == [True, None]

    def test_a_folder_in_the_way_means_that_another_was_first(self, store):
        assert make(store, data=b"first") is True
        assert make(store, data=b"second") is False
        assert (store.shards / "00000" / "images" / "a-000.png").read_bytes() == b"first"
        assert_whole(store, "00000")
        assert leftovers(store) == []

    def test_of_racing_writers_one_wins(self, store):
        barrier = Barrier(6)

        def race(number: int) -> bool:
            with store.begin("00000") as writer:
                rows = fill(writer, f"writer {number}".encode())
                barrier.wait()
                return writer.commit(rows, SCHEMA, {})

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(race, range(6)))
        assert sorted(won) == [False] * 5 + [True]
        image = store.shards / "00000" / "images" / "a-000.png"
        assert image.read_bytes() == f"writer {won.index(True)}".encode()
        assert_whole(store, "00000")
        assert leftovers(store) == []

    def test_a_file_in_the_way_is_an_error(self, store):
        store.shards.mkdir()
        (store.shards / "00000").write_text("not a shard")
        with pytest.raises(OSError):
            make(store)
        assert leftovers(store) == []


class TestFailure:
    def test_an_exception_leaves_nothing_behind(self, store):
        with pytest.raises(RuntimeError, match="out of luck"), store.begin("00000") as writer:
            fill(writer)
            raise RuntimeError("out of luck")
        assert store.done() == set()
        assert leftovers(store) == []

    @pytest.mark.parametrize("damage", [b"pixelz", b"pixe", b""])
    def test_an_image_that_reads_back_differently_makes_no_shard(self, store, damage):
        with pytest.raises(ShardCorrupt, match=r"a-000\.png"), store.begin("00000") as writer:
            rows = fill(writer)
            (image,) = (store.folder / "_tmp").rglob("a-000.png")
            image.write_bytes(damage)
            writer.commit(rows, SCHEMA, {})
        assert store.done() == set()
        assert leftovers(store) == []

    def test_an_image_that_is_gone_makes_no_shard(self, store):
        with pytest.raises(OSError), store.begin("00000") as writer:
            rows = fill(writer)
            (image,) = (store.folder / "_tmp").rglob("a-000.png")
            image.unlink()
            writer.commit(rows, SCHEMA, {})
        assert store.done() == set()

    def test_two_images_of_one_name_make_no_shard(self, store):
        with pytest.raises(ShardCorrupt), store.begin("00000") as writer:
            one = metadata_row("a-000", **writer.add_image("a-000", b"one"))
            two = metadata_row("a-000", **writer.add_image("a-000", b"two"))
            writer.commit([one, two], SCHEMA, {})
        assert store.done() == set()

    def test_a_row_of_the_wrong_type_makes_no_shard(self, store):
        with pytest.raises(pa.ArrowException), store.begin("00000") as writer:
            writer.commit([metadata_row("a-000", seed="seven")], SCHEMA, {})
        assert store.done() == set()
        assert leftovers(store) == []


class TestKilledProcess:
    def start(self, store: ShardStore, code: str) -> subprocess.Popen:
        setup = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from tests.dataset.test_shard import SCHEMA, ShardStore, fill, make\n"
            "store = ShardStore(Path(sys.argv[1]))\n"
        )
        return subprocess.Popen([sys.executable, "-c", setup + code, store.folder], cwd=ROOT)

    def test_before_commit_leaves_no_shard_and_is_tidied_up(self, store):
        process = self.start(
            store,
            "with store.begin('00000') as writer:\n"
            "    fill(writer)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n",
        )
        assert process.wait(60) == -signal.SIGKILL
        assert store.done() == set()
        assert any(path.name == "a-000.png" for path in leftovers(store))
        store.discard_abandoned()
        assert leftovers(store) == []
        assert make(store) is True

    @pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.11])
    def test_at_any_moment_leaves_only_whole_shards(self, store, delay_s):
        process = self.start(
            store, "for number in range(100_000):\n    make(store, f'{number:05d}')\n"
        )
        deadline = time.monotonic() + 60
        while not store.done() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay_s)
        process.kill()
        process.wait()
        done = store.done()
        assert done == {f"{number:05d}" for number in range(len(done))} != set()
        for name in done:
            assert_whole(store, name)
        store.discard_abandoned()
        assert leftovers(store) == []


class TestAbandonedAttempts:
    @pytest.fixture
    def gone(self):
        """The id of a process that has ended."""
        process = subprocess.Popen(["true"])
        process.wait()
        return process.pid

    def test_of_a_living_process_are_kept(self, store):
        with store.begin("00000") as writer:
            rows = fill(writer)
            store.discard_abandoned()
            assert writer.commit(rows, SCHEMA, {}) is True

    @pytest.mark.parametrize("name", ["00000.elsewhere.{}.ab12", "00000.x{host}.{}.ab12", "mine"])
    def test_of_other_machines_are_kept(self, store, gone, name):
        folder = store.folder / "_tmp" / name.format(gone, host=f".{socket.gethostname()}")
        folder.mkdir(parents=True)
        store.discard_abandoned()
        assert folder.is_dir()

    def test_of_a_process_that_is_gone_are_removed(self, store, gone):
        folder = store.folder / "_tmp" / f"00000.{socket.gethostname()}.{gone}.ab12"
        (folder / "images").mkdir(parents=True)
        store.discard_abandoned()
        assert not folder.exists()

    def test_may_be_none(self, store):
        store.discard_abandoned()

    def test_carry_the_shard_the_machine_and_the_process_in_their_name(self, store):
        with store.begin("00042") as one, store.begin("00042") as other:
            start = f"00042.{socket.gethostname()}.{os.getpid()}."
            assert one.attempt.startswith(start) and other.attempt.startswith(start)
            assert one.attempt != other.attempt


def test_an_empty_folder_has_no_shards(store):
    assert store.done() == set()
