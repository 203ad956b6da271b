"""The file for Prometheus: read back with a parser that forgives nothing."""

import math
import os
import re
import stat
import threading
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdbatch.runner.metrics import Snapshot, render, write_metrics

SNAPSHOT = Snapshot(
    dataset="红星/night-1",
    planned=1_000_000,
    done={"ok": 410_000, "failed": 3},
    images_per_second=11.25,
    shards=2000,
    shards_done=820,
    workers=4,
    worker_restarts=1,
    stage_seconds={"denoise": 31_000.5, "encode": 900.25},
    device_busy=0.97,
    last_image_at=1795561200.5,
    peak_memory_bytes=2**53 + 1,
)

_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"([a-z_]+)\{{({_LABEL}(?:,{_LABEL})*)\}} (\S+)")
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def parse(text: str) -> dict[str, dict[frozenset, str]]:
    """Metric -> labels -> number as text, by the rules of the exposition format.

    Each metric has its HELP, then its TYPE, then its samples, no two of which have equal labels.
    """
    assert text.endswith("\n")
    metrics: dict[str, dict[frozenset, str]] = {}
    lines = iter(text.removesuffix("\n").split("\n"))
    name = None
    for line in lines:
        if line.startswith("# HELP "):
            assert name is None or metrics[name], f"{name} has no sample"
            name = re.fullmatch(r"# HELP ([a-z_]+) [^\\]+", line)[1]
            kind = re.fullmatch(rf"# TYPE {name} (gauge|counter)", next(lines))[1]
            assert (kind == "counter") == name.endswith("_total")
            assert name not in metrics
            metrics[name] = {}
            continue
        found, labels, number = _SAMPLE.fullmatch(line).groups()
        assert found == name
        pairs = (label.split("=", 1) for label in re.findall(_LABEL, labels))
        key = {
            key: re.sub(r"\\.", lambda match: _ESCAPES[match[0]], value[1:-1])
            for key, value in pairs
        }
        assert frozenset(key.items()) not in metrics[name]
        metrics[name][frozenset(key.items())] = number
    return metrics


def values(snapshot: Snapshot, name: str, label: str | None = None) -> dict[str | None, float]:
    """Label's value -> number of one metric; every sample must have the dataset's label."""
    found = {}
    for labels, number in parse(render(snapshot)).get(f"sdbatch_{name}", {}).items():
        labels = dict(labels)
        assert labels.pop("dataset") == snapshot.dataset
        found[labels.pop(label) if label else None] = float(number)
        assert not labels
    return found


class TestText:
    @pytest.mark.parametrize(
        ("name", "number"),
        [
            ("images_planned", 1_000_000),
            ("images_per_second", 11.25),
            ("shards", 2000),
            ("shards_done", 820),
            ("workers", 4),
            ("worker_restarts_total", 1),
            ("device_busy_ratio", 0.97),
            ("last_image_timestamp_seconds", 1795561200.5),
        ],
    )
    def test_has_each_number_under_its_name(self, name, number):
        assert values(SNAPSHOT, name) == {None: number}

    def test_has_images_by_status_and_seconds_by_stage(self):
        assert values(SNAPSHOT, "images", "status") == {"ok": 410_000, "failed": 3}
        stages = {"denoise": 31_000.5, "encode": 900.25}
        assert values(SNAPSHOT, "stage_seconds_total", "stage") == stages

    def test_has_nothing_else(self):
        assert len(parse(render(SNAPSHOT))) == 11
        assert all(name.startswith("sdbatch_") for name in parse(render(SNAPSHOT)))

    def test_large_counts_keep_every_digit(self):
        assert f" {2**53 + 1}\n" in render(SNAPSHOT)

    def test_looks_like_this(self):
        assert render(SNAPSHOT).startswith(
            "# HELP sdbatch_images_planned Images of the whole dataset.\n"
            "# TYPE sdbatch_images_planned gauge\n"
            'sdbatch_images_planned{dataset="红星/night-1"} 1000000\n'
        )

    def test_leaves_out_what_is_not_known_yet(self):
        new = replace(SNAPSHOT, done={}, stage_seconds={}, device_busy=None, last_image_at=None)
        missing = parse(render(SNAPSHOT)).keys() - parse(render(new)).keys()
        assert missing == {
            "sdbatch_images",
            "sdbatch_stage_seconds_total",
            "sdbatch_device_busy_ratio",
            "sdbatch_last_image_timestamp_seconds",
        }

    def test_zero_is_known(self):
        idle = replace(SNAPSHOT, device_busy=0.0, done={"ok": 0})
        assert values(idle, "device_busy_ratio") == {None: 0}
        assert values(idle, "images", "status") == {"ok": 0}

    @given(st.text(st.characters(exclude_categories=["Cs"])), st.text('a\\"n\n红,={}'))
    @example('\\"\n', "\\n")
    @example("C:\\night\r", 'a,b="c"}')
    def test_any_label_is_read_back(self, dataset, status):
        snapshot = replace(SNAPSHOT, dataset=dataset, done={status: 5})
        assert values(snapshot, "images", "status") == {status: 5}

    @given(st.floats(allow_nan=False))
    @example(math.inf)
    @example(-math.inf)
    @example(1e300)
    def test_any_number_is_read_back(self, number):
        snapshot = replace(SNAPSHOT, images_per_second=number)
        assert values(snapshot, "images_per_second") == {None: number}

    def test_numbers_that_are_none_are_spelt_as_prometheus_spells_them(self):
        text = render(replace(SNAPSHOT, images_per_second=math.nan, device_busy=math.inf))
        assert '"} NaN\n' in text and '"} +Inf\n' in text


class TestFile:
    def test_holds_the_text_as_utf8_and_nothing_lies_beside_it(self, tmp_path):
        path = tmp_path / "sdbatch.prom"
        write_metrics(path, SNAPSHOT)
        write_metrics(path, replace(SNAPSHOT, planned=7))
        assert path.read_text("utf-8") == render(replace(SNAPSHOT, planned=7))
        assert list(tmp_path.iterdir()) == [path]

    def test_can_be_read_by_the_collector_which_is_another_user(self, tmp_path):
        path = tmp_path / "sdbatch.prom"
        before = os.umask(0o022)
        try:
            write_metrics(path, SNAPSHOT)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

    def test_a_folder_name_that_is_no_text_does_no_harm(self, tmp_path):
        path = tmp_path / "sdbatch.prom"
        write_metrics(path, replace(SNAPSHOT, dataset=os.fsdecode(b"night-\xff")))
        assert 'dataset="night-?"' in path.read_text("utf-8")

    def test_if_it_cannot_be_put_in_place_nothing_lies_beside_it(self, tmp_path):
        path = tmp_path / "sdbatch.prom"
        path.mkdir()
        with pytest.raises(OSError):
            write_metrics(path, SNAPSHOT)
        assert list(tmp_path.iterdir()) == [path]

    def test_readers_never_see_half_of_it_nor_another_file_of_metrics(self, tmp_path):
        path = tmp_path / "sdbatch.prom"
        write_metrics(path, SNAPSHOT)
        over = threading.Event()

        def write() -> None:
            try:
                for i in range(200):
                    done = {f"status{j}": i for j in range(1 + i % 50)}
                    write_metrics(path, replace(SNAPSHOT, planned=i, done=done))
            finally:
                over.set()

        writer = threading.Thread(target=write)
        writer.start()
        reads = 0
        while not over.is_set() or reads == 0:
            assert parse(path.read_text("utf-8"))["sdbatch_peak_memory_bytes"]
            assert list(tmp_path.glob("*.prom")) == [path]
            reads += 1
        writer.join()
        assert 'sdbatch_images_planned{dataset="红星/night-1"} 199\n' in path.read_text("utf-8")
