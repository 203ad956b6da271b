"""Every kind of damage to a dataset is found, named, and can be taken away."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdbatch.dataset.merge import merge
from sdbatch.dataset.shard import ShardStore
from sdbatch.dataset.verify import Report, discard, verify
from sdbatch.errors import UserError
from sdbatch.labels import Label
from tests.dataset.making import a_plan, begin, make, make_all, picture

STATUSES = ["ok", "ok", "failed", "ok", "ok", "blank", "ok", "oom", "ok", "ok"]


@pytest.fixture
def store(tmp_path):
    """Ten rows in three shards, one of them repaired, and merged."""
    store = begin(tmp_path / "dataset")
    fill(store)
    return store


def fill(store: ShardStore) -> None:
    make_all(store, a_plan(), STATUSES)
    make(store, "00001.r1", {"5-000": "ok", "7-000": "oom"}, suffix="jpg")
    merge(store, a_plan())


def found(report: Report) -> list[tuple[str, str]]:
    return [(problem.shard, problem.kind) for problem in report.problems]


def change(path: Path, edit: Callable[[bytes], bytes]) -> None:
    path.write_bytes(edit(path.read_bytes()))


def set_column(path: Path, name: str, edit: Callable[[list], list]) -> None:
    """Write a metadata file again with other values in one column."""
    table = pq.read_table(path, partitioning=None)
    place = table.schema.get_field_index(name)
    values = pa.array(edit(table.column(name).to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(place, table.schema.field(name), values), path)


def set_record(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def last_changed(values: list, value) -> list:
    return [*values[:-1], value]


def first_changed(values: list, value) -> list:
    return [value, *values[1:]]


def swap_picture(shard: Path, data: bytes) -> None:
    """Another file in place of the first picture, with metadata that fit it."""
    (shard / "images" / f"{first_id(shard)}.png").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    set_column(shard / "metadata.parquet", "bytes", lambda v: first_changed(v, len(data)))
    set_column(shard / "metadata.parquet", "sha256", lambda v: first_changed(v, digest))


def labelled_as(pictures_id: str, columns_id: str) -> Callable[[Path], object]:
    """The first picture gets a label with one number, and metadata that tell of another."""

    def damage(shard: Path) -> None:
        table = shard / "metadata.parquet"
        swap_picture(shard, Label("新华社").attached(image(shard).read_bytes(), pictures_id))
        set_column(table, "aigc_label", lambda v: first_changed(v, "gb45438"))
        set_column(table, "aigc_produce_id", lambda v: first_changed(v, columns_id))

    return damage


def first_id(shard: Path) -> str:
    return {"00000": "0-000", "00001": "4-000", "00002": "8-000"}[shard.name]


def image(shard: Path) -> Path:
    return shard / "images" / f"{first_id(shard)}.png"


def encoded(kind: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, kind)
    return buffer.getvalue()


# What can happen to a finished shard: what is done to its folder, and what must be said of it.
DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no label": (
        lambda shard: set_column(
            shard / "metadata.parquet", "aigc_label", lambda v: first_changed(v, "gb45438")
        ),
        "mismatch", ": no XMP in the file",
    ),
    "the label of another picture": (
        labelled_as("a-number", "another-number"),
        "mismatch", ": AIGC.ProduceID a-number, expected another-number",
    ),
    "metadata gone": (
        lambda shard: (shard / "metadata.parquet").unlink(),
        "missing", "metadata.parquet is missing",
    ),
    "metadata cut": (
        lambda shard: change(shard / "metadata.parquet", lambda data: data[:-9]),
        "torn", "metadata.parquet is not a whole Parquet file",
    ),
    "metadata zeroed": (
        lambda shard: change(shard / "metadata.parquet", lambda data: bytes(len(data))),
        "torn", "metadata.parquet is not a whole Parquet file",
    ),
    "metadata a folder": (
        lambda shard: ((shard / "metadata.parquet").unlink(), (shard / "metadata.parquet").mkdir()),
        "missing", "metadata.parquet is missing",
    ),
    "column of ours missing": (
        lambda shard: pq.write_table(
            pq.read_table(shard / "metadata.parquet", partitioning=None).drop_columns(["seed"]),
            shard / "metadata.parquet",
        ),
        "mismatch", "metadata.parquet: column seed: expected int64, never null, found none",
    ),
    "carried column missing": (
        lambda shard: pq.write_table(
            pq.read_table(shard / "metadata.parquet", partitioning=None).drop_columns(["topic"]),
            shard / "metadata.parquet",
        ),
        "mismatch", "metadata.parquet: other columns than most shards",
    ),
    "status unknown": (
        lambda shard: set_column(
            shard / "metadata.parquet", "status", lambda v: first_changed(v, "fine")
        ),
        "mismatch", "status 'fine', expected one of ok, failed, nan, blank, oom",
    ),
    "status not of a picture": (
        lambda shard: set_column(
            shard / "metadata.parquet", "status", lambda v: first_changed(v, "blank")
        ),
        "mismatch", "status blank, file_name 'shards/",
    ),
    "picture without a name": (
        lambda shard: set_column(
            shard / "metadata.parquet", "file_name", lambda v: first_changed(v, None)
        ),
        "mismatch", "status ok, file_name None",
    ),
    "picture elsewhere": (
        lambda shard: set_column(
            shard / "metadata.parquet", "file_name",
            lambda v: first_changed(v, f"shards/{shard.name}/images/../../../run.json"),
        ),
        "mismatch", "not in shards/",
    ),
    "two rows of an image": (
        lambda shard: set_column(
            shard / "metadata.parquet", "image_id", lambda v: last_changed(v, v[0])
        ),
        "mismatch", "more than one row",
    ),
    "row of another shard": (
        lambda shard: set_column(
            shard / "metadata.parquet", "shard_id", lambda v: last_changed(v, "00077")
        ),
        "mismatch", "shard_id '00077', expected '",
    ),
    "record gone": (
        lambda shard: (shard / "shard.json").unlink(), "missing", "shard.json is missing",
    ),
    "record torn": (
        lambda shard: change(shard / "shard.json", lambda data: data[:20]),
        "torn", "shard.json is not whole JSON",
    ),
    "record of other counts": (
        lambda shard: set_record(shard / "shard.json", counts={"ok": 100}),
        "mismatch", "shard.json: counts {'ok': 100}, the rows have {'ok': ",
    ),
    "record of another shard": (
        lambda shard: set_record(shard / "shard.json", shard="00077"),
        "mismatch", "shard.json: shard '00077', the rows have '",
    ),
    "picture gone": (lambda shard: image(shard).unlink(), "missing", ".png is missing"),
    "picture a folder": (
        lambda shard: (image(shard).unlink(), image(shard).mkdir()), "unreadable", ".png: Is a dir",
    ),
    "picture cut": (
        lambda shard: change(image(shard), lambda data: data[:-1]), "torn", " bytes, expected ",
    ),
    "picture empty": (
        lambda shard: image(shard).write_bytes(b""), "torn", ".png: 0 bytes, expected ",
    ),
    "picture with other bytes": (
        lambda shard: change(image(shard), lambda data: data[:-1] + b"\0"),
        "mismatch", ".png: another SHA-256 than in the metadata",
    ),
    "picture never whole": (
        lambda shard: swap_picture(shard, picture("x")[:-40]), "torn", ".png: cannot be decoded (",
    ),
    "picture no picture": (
        lambda shard: swap_picture(shard, b"hello"),
        "torn", ".png: cannot be decoded (UnidentifiedImageError)",
    ),
    "picture of another size": (
        lambda shard: swap_picture(shard, encoded("PNG", (16, 8))),
        "mismatch", ".png: png of 16x8, expected png of 12x8",
    ),
    "picture of another format": (
        lambda shard: swap_picture(shard, encoded("JPEG", (12, 8))),
        "mismatch", ".png: jpeg of 12x8, expected png of 12x8",
    ),
    "picture too many": (
        lambda shard: (shard / "images" / "x.png").write_bytes(picture("x")),
        "extra", "images/x.png: no row tells of it",
    ),
    "file too many": (
        lambda shard: (shard / "notes.txt").write_text("x"), "extra", "notes.txt in its folder",
    ),
    "images gone": (
        lambda shard: shutil.rmtree(shard / "images"), "missing", "images is missing",
    ),
    "images a file": (
        lambda shard: (shutil.rmtree(shard / "images"), (shard / "images").write_text("x")),
        "missing", "images is missing, or not a folder",
    ),
    "shard a file": (
        lambda shard: (shutil.rmtree(shard), shard.write_text("x")),
        "torn", "expected a folder, found a file",
    ),
}  # fmt: skip


def test_a_whole_dataset_has_no_problems(store):
    counted = []
    report = verify(store.folder, counted.append)
    assert report == Report(images=8, shards=3, missing=(), problems=())
    assert counted == [3, 3, 2]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_named(store, damage):
    do, kind, detail = DAMAGES[damage]
    do(store.shards / "00002")
    problems = verify(store.folder).problems
    assert ("00002", kind) in [(problem.shard, problem.kind) for problem in problems]
    assert {problem.shard for problem in problems} <= {"00002", "merged"}
    lines = [str(problem) for problem in problems]
    assert any(line.startswith(f"00002: {kind}: ") and detail in line for line in lines), lines
    assert all(len(line.splitlines()) == 1 for line in lines)


# Where several shards have lost a column, nobody can tell which ones are right.
@given(
    st.lists(
        st.sampled_from(sorted(DAMAGES.keys() - {"carried column missing"})),
        min_size=3,
        max_size=3,
    ),
    st.integers(0, 7),
)
@settings(deadline=None, max_examples=40)
def test_exactly_what_is_damaged_is_reported_taken_away_and_made_again(
    tmp_path_factory, damages, which
):
    folder = tmp_path_factory.mktemp("dataset")
    store = begin(folder)
    fill(store)
    hit = [f"{shard:05d}" for shard in range(3) if which >> shard & 1]
    for name, damage in zip(hit, damages, strict=False):
        DAMAGES[damage][0](store.shards / name)
    report = verify(folder)
    assert list(report.damaged) == hit
    discard(folder, report)
    assert store.done().isdisjoint(report.damaged)
    assert (folder / "metadata.parquet").exists() == (not hit)
    for shard in range(3):
        name = f"{shard:05d}"
        if not store.exists(name):
            span = range(*a_plan().shard_rows(shard))
            make(store, name, {f"{row}-000": STATUSES[row] for row in span})
    if not store.exists("00001.r1"):
        make(store, "00001.r1", {"5-000": "ok", "7-000": "oom"}, suffix="jpg")
    merge(store, a_plan())
    assert verify(folder).problems == ()
    assert list(store.tmp.iterdir()) == []
    shutil.rmtree(folder)


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_any_byte_that_changes_in_a_picture_is_found(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("dataset")
    store = begin(folder, a_plan(rows=1))
    make(store, "00000", {"0-000": "ok"})
    path = store.shards / "00000" / "images" / "0-000.png"
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    replaced = data.draw(st.binary(max_size=2))
    path.write_bytes(whole[:place] + replaced + whole[place + 1 :])
    assert bool(verify(folder).problems) == (path.read_bytes() != whole)
    shutil.rmtree(folder)


class TestRepairs:
    def test_are_checked_as_shards_are(self, store):
        path = store.repairs / "00001.r1" / "images" / "5-000.jpg"
        change(path, lambda data: data[:-1])
        report = verify(store.folder)
        assert found(report) == [("00001.r1", "torn")]
        assert report.damaged == ("00001.r1",)
        discard(store.folder, report)
        assert store.repairs_by_shard() == {}
        assert store.done() == {"00000", "00001", "00002"}

    def test_must_be_of_rows_that_their_shard_has(self, store):
        make(store, "00001.r2", {"0-000": "ok"})
        (problem,) = (one for one in verify(store.folder).problems if one.shard == "00001.r2")
        assert (problem.kind, problem.detail) == ("mismatch", "0-000: shard 00001 has no such row")

    def test_stay_when_their_shard_is_made_again(self, store):
        image(store.shards / "00001").unlink()
        discard(store.folder, verify(store.folder))
        assert store.repairs_by_shard() == {"00001": ["00001.r1"]}
        report = verify(store.folder)
        assert (report.problems, report.missing) == ((), ("00001",))


class TestWhole:
    def test_shards_that_are_not_there_yet_are_missing_and_no_problem(self, tmp_path):
        store = begin(tmp_path)
        make(store, "00001", {f"{row}-000": "ok" for row in range(4, 8)})
        assert verify(tmp_path) == Report(4, 1, ("00000", "00002"), ())

    def test_rows_that_do_not_add_up_to_the_plan_are_a_problem(self, tmp_path):
        store = begin(tmp_path, a_plan(rows=3, images=5))
        make(store, "00000", {"0-000": "ok", "1-000": "ok", "2-000": "ok"})
        (problem,) = verify(tmp_path).problems
        assert str(problem) == "mismatch: 5 images planned, the shards have 3 rows"

    def test_what_is_nobodys_is_reported_and_stays(self, store):
        mine = [store.shards / "backup", store.shards / "00077", store.repairs / "notes"]
        mine.append(store.repairs / "00077.r1")
        for folder in mine:
            folder.mkdir()
        report = verify(store.folder)
        assert found(report) == [("", "extra")] * 4
        assert "shards/backup: not of this dataset's plan" in str(report.problems[1])
        assert report.damaged == ()
        discard(store.folder, report)
        assert all(folder.is_dir() for folder in mine)
        assert (store.folder / "metadata.parquet").exists()

    def test_of_unlike_shards_the_odd_one_is_the_problem(self, store):
        # The first shard, so that it is not simply compared with it.
        DAMAGES["carried column missing"][0](store.shards / "00000")
        assert verify(store.folder).damaged == ("00000",)

    def test_what_is_not_a_dataset_is_told(self, tmp_path):
        with pytest.raises(UserError, match="not a dataset"):
            verify(tmp_path)

    def test_unfinished_attempts_are_no_problem(self, store):
        with store.begin("00000"):
            assert verify(store.folder).problems == ()


class TestMerged:
    def problem(self, store) -> str:
        report = verify(store.folder)
        (problem,) = report.problems
        assert problem.shard == "merged"
        assert report.damaged == ()
        discard(store.folder, report)
        assert not (store.folder / "metadata.parquet").exists()
        assert not (store.folder / "summary.json").exists()
        assert verify(store.folder).problems == ()
        return str(problem)

    @pytest.mark.parametrize("column", ["image_id", "status", "sha256", "file_name"])
    def test_rows_must_be_those_of_the_shards(self, store, column):
        path = store.folder / "metadata.parquet"
        set_column(path, column, lambda values: last_changed(values, "x"))
        line = self.problem(store)
        assert line.startswith("merged: mismatch: metadata.parquet: row 9 is ")
        assert "expected 9-000 (ok, shards/00002/images/9-000.png, SHA-256 " in line

    @pytest.mark.parametrize(("rows", "text"), [(9, "row 9 is none"), (0, "row 0 is none")])
    def test_rows_must_be_as_many(self, store, rows, text):
        path = store.folder / "metadata.parquet"
        pq.write_table(pq.read_table(path).slice(0, rows), path)
        assert f"{text}, expected {rows}-000" in self.problem(store)

    def test_repairs_that_came_later_make_it_stale(self, store):
        make(store, "00001.r2", {"7-000": "ok"})
        expected = "row 7 is 7-000 (oom, None, SHA-256 none), expected 7-000 (ok, "
        assert expected in self.problem(store)

    @pytest.mark.parametrize("data", [b"", b"PAR1", bytes(2000)])
    def test_torn(self, store, data):
        (store.folder / "metadata.parquet").write_bytes(data)
        assert self.problem(store) == "merged: torn: metadata.parquet is not a whole Parquet file"

    def test_one_without_the_other(self, store):
        (store.folder / "summary.json").unlink()
        assert self.problem(store) == "merged: missing: summary.json is missing"

    def test_the_other_without_the_one(self, store):
        (store.folder / "metadata.parquet").unlink()
        assert self.problem(store) == "merged: missing: metadata.parquet is missing"

    @pytest.mark.parametrize("data", [b"", b"[]", b'{"planned": 10}'])
    def test_the_summary_torn(self, store, data):
        (store.folder / "summary.json").write_bytes(data)
        assert self.problem(store) == "merged: torn: summary.json is not a whole summary"

    def test_the_summary_wrong(self, store):
        set_record(store.folder / "summary.json", counts={"ok": 10})
        assert "summary.json: {'planned': 10, 'counts': {'ok': 10}}, exp" in self.problem(store)
