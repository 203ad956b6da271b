"""A shard appears whole, by one rename, or not at all."""

import hashlib
import json
import shutil
import signal
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
from sdbatch.dataset.shard import ShardStore
from sdbatch.dataset.writer import ShardCorrupt, ShardWriter
from tests.dataset.making import begin
from tests.examples import metadata_row

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = dataset_schema(pa.schema([("score", pa.float64())]), {"model": "demo"})


@pytest.fixture
def store(tmp_path):
    return begin(tmp_path / "dataset")


def fill(writer: ShardWriter, data: bytes = b"pixels") -> list[dict]:
    """One picture that is there and one that failed; returns their rows."""
    made = writer.add_image("a-000", data)
    failed = metadata_row("b-000", error_type="BadImage")
    return [metadata_row("a-000", status="ok", **made), failed]


def make(store: ShardStore, name: str = "00000", data: bytes = b"pixels") -> bool:
    with store.begin(name) as writer:
        return writer.commit(fill(writer, data), SCHEMA, {"seconds": 1.5})


def leftovers(store: ShardStore) -> list:
    return sorted(store.tmp.rglob("*"))


def assert_whole(store: ShardStore, name: str) -> None:
    """The shard's images are exactly those its metadata tell of."""
    rows = store.read_metadata(name).to_pylist()
    files = [row for row in rows if row["file_name"]]
    for row in files:
        data = (store.folder / row["file_name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
    assert len(list((store.place(name) / "images").iterdir())) == len(files)
    assert store.read_record(name)["images"] == len(rows)


class TestCommit:
    def test_nothing_is_visible_before_it(self, store):
        with store.begin("00000") as writer:
            rows = fill(writer)
            assert store.done() == set()
            assert not store.exists("00000")
            writer.commit(rows, SCHEMA, {})
            assert store.done() == {"00000"}
            assert store.exists("00000")

    @pytest.mark.parametrize(
        ("name", "place"), [("00042", "shards/00042"), ("00042.r1", "repairs/00042.r1")]
    )
    def test_makes_images_and_metadata_visible_together(self, store, name, place):
        assert make(store, name) is True
        assert {path.name for path in (store.folder / place).iterdir()} == {
            "images", "metadata.parquet", "shard.json",
        }  # fmt: skip
        assert_whole(store, name)
        assert leftovers(store) == []

    @pytest.mark.parametrize(
        ("name", "place"), [("00042", "shards/00042"), ("00042.r1", "repairs/00042.r1")]
    )
    def test_file_names_lead_from_the_dataset_folder_to_the_images(self, store, name, place):
        make(store, name, b"abc")
        ok, failed = store.read_metadata(name).to_pylist()
        assert ok["file_name"] == f"{place}/images/a-000.png"
        assert (store.folder / ok["file_name"]).read_bytes() == b"abc"
        assert (ok["format"], ok["bytes"]) == ("png", 3)
        assert ok["sha256"] == hashlib.sha256(b"abc").hexdigest()
        assert [failed[name] for name in ("file_name", "format", "bytes", "sha256")] == [None] * 4

    def test_jpeg_files_end_in_jpg(self, store):
        with store.begin("00000") as writer:
            made = writer.add_image("a-000", b"abc", "jpg")
        assert made["file_name"] == "shards/00000/images/a-000.jpg"
        assert made["format"] == "jpeg"

    def test_metadata_have_the_schema_they_were_given(self, store):
        make(store)
        schema = pq.read_schema(store.shards / "00000" / "metadata.parquet")
        assert schema.equals(SCHEMA, check_metadata=True)

    def test_the_record_tells_counts_errors_and_attempt_beside_what_it_was_given(self, store):
        with store.begin("00000") as writer:
            writer.commit(fill(writer), SCHEMA, {"seconds": 1.5, "device": "gpu:0"})
        assert store.read_record("00000") == {
            "shard": "00000", "attempt": writer.attempt, "images": 2,
            "counts": {"ok": 1, "failed": 1}, "errors": {"BadImage": 1},
            "seconds": 1.5, "device": "gpu:0",
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

    def test_threads_may_add_images_at_once(self, store):
        barrier = Barrier(8)

        def add(number: int) -> dict:
            barrier.wait()
            return metadata_row(f"{number}-000", **writer.add_image(f"{number}-000", b"x" * number))

        with store.begin("00000") as writer, ThreadPoolExecutor(8) as pool:
            assert writer.commit(list(pool.map(add, range(8))), SCHEMA, {})
        assert_whole(store, "00000")


class TestRace:
    def test_a_folder_in_the_way_means_that_another_was_first(self, store):
        assert make(store, data=b"first") is True
        assert make(store, data=b"second") is False
        assert (store.shards / "00000" / "images" / "a-000.png").read_bytes() == b"first"
        assert_whole(store, "00000")
        assert leftovers(store) == []

    @pytest.mark.parametrize("name", ["00000", "00000.r1"])
    def test_of_racing_writers_one_wins(self, store, name):
        barrier = Barrier(6)

        def race(number: int) -> bool:
            with store.begin(name) as writer:
                rows = fill(writer, f"writer {number}".encode())
                barrier.wait()
                return writer.commit(rows, SCHEMA, {})

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(race, range(6)))
        assert sorted(won) == [False] * 5 + [True]
        image = store.place(name) / "images" / "a-000.png"
        assert image.read_bytes() == f"writer {won.index(True)}".encode()
        assert_whole(store, name)
        assert leftovers(store) == []

    def test_a_rename_that_succeeded_and_says_it_failed_is_a_success(self, store, monkeypatch):
        rename = Path.rename

        def lose_the_answer(self, target):
            rename(self, target)
            return rename(self, target)  # as a client of NFS that asks again

        monkeypatch.setattr(Path, "rename", lose_the_answer)
        assert make(store) is True
        assert_whole(store, "00000")

    def test_another_shard_there_is_a_loss_even_if_it_is_damaged(self, store):
        make(store, data=b"first")
        (store.shards / "00000" / "shard.json").write_bytes(b"{")
        assert make(store, data=b"second") is False

    def test_a_file_in_the_way_is_an_error(self, store):
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

    @pytest.mark.parametrize("found", [b"pixelz", b"pixe", b""])
    def test_an_image_that_reads_back_differently_is_refused_at_once(
        self, store, monkeypatch, found
    ):
        monkeypatch.setattr(Path, "read_bytes", lambda path: found)  # a disk that forgets
        with store.begin("00000") as writer, pytest.raises(ShardCorrupt, match=r"a-000\.png: read"):
            writer.add_image("a-000", b"pixels")

    def test_metadata_that_read_back_differently_make_no_shard(self, store, monkeypatch):
        with pytest.raises(ShardCorrupt, match="parquet: read"), store.begin("00000") as writer:
            rows = fill(writer)
            monkeypatch.setattr(Path, "read_bytes", lambda path: b"PAR1")
            writer.commit(rows, SCHEMA, {})
        assert store.done() == set()
        assert leftovers(store) == []

    @pytest.mark.parametrize("damage", [b"pixe", b"", b"pixels and more"])
    def test_an_image_whose_size_changed_makes_no_shard(self, store, damage):
        with pytest.raises(ShardCorrupt, match=r"a-000\.png"), store.begin("00000") as writer:
            rows = fill(writer)
            (image,) = store.tmp.rglob("a-000.png")
            image.write_bytes(damage)
            writer.commit(rows, SCHEMA, {})
        assert store.done() == set()
        assert leftovers(store) == []

    def test_an_image_that_is_gone_makes_no_shard(self, store):
        with pytest.raises(ShardCorrupt, match=r"a-000\.png"), store.begin("00000") as writer:
            rows = fill(writer)
            (image,) = store.tmp.rglob("a-000.png")
            image.unlink()
            writer.commit(rows, SCHEMA, {})
        assert store.done() == set()

    def test_an_image_without_a_row_makes_no_shard(self, store):
        with pytest.raises(ShardCorrupt, match=r"c-000\.png"), store.begin("00000") as writer:
            rows = fill(writer)
            writer.add_image("c-000", b"nobody's")
            writer.commit(rows, SCHEMA, {})
        assert store.done() == set()

    def test_two_images_of_one_name_make_no_shard(self, store):
        with (
            pytest.raises(ShardCorrupt, match=r"a-000\.png: two images of one name"),
            store.begin("00000") as writer,
        ):
            one = metadata_row("a-000", **writer.add_image("a-000", b"one"))
            two = metadata_row("a-000", **writer.add_image("a-000", b"two"))
            writer.commit([one, two], SCHEMA, {})
        assert store.done() == set()

    def test_two_rows_of_one_image_make_no_shard(self, store):
        with pytest.raises(ShardCorrupt, match="rows"), store.begin("00000") as writer:
            row = fill(writer)[0]
            writer.commit([row, row], SCHEMA, {})
        assert store.done() == set()

    def test_a_row_of_the_wrong_type_makes_no_shard(self, store):
        with pytest.raises(pa.ArrowException), store.begin("00000") as writer:
            writer.commit([metadata_row("a-000", seed="seven")], SCHEMA, {})
        assert store.done() == set()
        assert leftovers(store) == []


class TestDatasetThatIsDeletedUnderWay:
    def test_is_not_begun_again(self, store):
        shutil.rmtree(store.folder)
        with pytest.raises(FileNotFoundError) as error, store.begin("00000"):
            pass
        assert error.value.filename == str(store.folder)
        assert not store.folder.exists()

    def test_does_not_reappear_at_commit(self, store):
        with pytest.raises(FileNotFoundError), store.begin("00000") as writer:
            rows = fill(writer)
            shutil.rmtree(store.folder)
            writer.commit(rows, SCHEMA, {})
        assert not store.folder.exists()

    def test_gets_no_more_shards_once_its_run_json_is_gone(self, store):
        with pytest.raises(FileNotFoundError) as error, store.begin("00000") as writer:
            rows = fill(writer)
            (store.folder / "run.json").unlink()
            writer.commit(rows, SCHEMA, {})
        assert error.value.filename == str(store.folder)
        assert store.done() == set()
        assert leftovers(store) == []

    def test_is_left_without_an_error_by_whoever_had_a_shard_in_hand(self, store):
        with store.begin("00000") as writer:
            fill(writer)
            shutil.rmtree(store.folder)
        assert not store.folder.exists()

    def test_may_lose_its_tmp_alone(self, store):
        store.tmp.rmdir()
        assert make(store) is True


class TestKilledProcess:
    def start(self, store: ShardStore, code: str) -> subprocess.Popen:
        setup = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from tests.dataset.test_writer import SCHEMA, ShardStore, fill, make\n"
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
        assert store.claimed() == {}
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

    def test_of_several_writers_of_the_same_shards_loses_none(self, store):
        code = "for number in range(20):\n    make(store, f'{number:05d}')\n"
        writers = [self.start(store, code) for _ in range(3)]
        deadline = time.monotonic() + 60
        while not store.done() and time.monotonic() < deadline:
            time.sleep(0.01)
        writers[0].kill()
        codes = [writer.wait(60) for writer in writers]
        assert codes[1:] == [0, 0]
        assert store.done() == {f"{number:05d}" for number in range(20)}
        for name in store.done():
            assert_whole(store, name)
        store.discard_abandoned()
        assert leftovers(store) == []


def test_the_record_is_json_that_people_can_read(store):
    make(store)
    text = (store.shards / "00000" / "shard.json").read_text()
    assert text == json.dumps(store.read_record("00000"), indent=2) + "\n"
