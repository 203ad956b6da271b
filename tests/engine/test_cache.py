"""Compiled programs on disk: made once, whole or not at all, no more than fit."""

import json
import multiprocessing
import os
import stat
import tempfile
import time
from pathlib import Path

import pytest

from sdbatch.engine.cache import ProgramCache
from sdbatch.engine.options import default_cache
from sdbatch.errors import UserError

KEY = {"network": "unet", "shape": [4, 64, 64]}


def writing(content: bytes, made: list | None = None):
    """A `make` that writes this program."""

    def make(folder: Path) -> Path:
        if made is not None:
            made.append(folder)
        path = folder / "program.json"
        path.write_bytes(content)
        return path

    return make


def test_a_program_is_made_once(tmp_path):
    made = []
    cache = ProgramCache(tmp_path / "new" / "cache", 1 << 20)
    first = cache.get(KEY, writing(b"program", made))
    again = ProgramCache(tmp_path / "new" / "cache", 1 << 20).get(KEY, writing(b"other", made))
    assert (first, first.read_bytes(), len(made)) == (again, b"program", 1)


def test_another_key_is_another_program(tmp_path):
    cache = ProgramCache(tmp_path, 1 << 20)
    assert cache.get(KEY, writing(b"a")) != cache.get({**KEY, "shape": []}, writing(b"b"))


def test_an_entry_says_what_it_is_for(tmp_path):
    program = ProgramCache(tmp_path, 1 << 20).get(KEY, writing(b"a"))
    assert json.loads((program.parent / "entry.json").read_text())["key"] == KEY


@pytest.mark.parametrize("damage", ["changed", "truncated", "deleted", "no entry", "bad entry"])
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    cache = ProgramCache(tmp_path, 1 << 20)
    program = cache.get(KEY, writing(b"program"))
    entry = program.parent / "entry.json"
    match damage:
        case "changed":
            program.write_bytes(b"Program")
        case "truncated":
            program.write_bytes(b"")
        case "deleted":
            program.unlink()
        case "no entry":
            entry.unlink()
        case _:
            entry.write_text("{")
    assert cache.get(KEY, writing(b"again")).read_bytes() == b"again"


def test_a_failure_leaves_nothing(tmp_path):
    def fail(folder: Path) -> Path:
        (folder / "half").write_bytes(b"x")
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        ProgramCache(tmp_path, 1 << 20).get(KEY, fail)
    assert list(tmp_path.iterdir()) == []


def test_entries_unused_for_longest_are_deleted_above_the_limit(tmp_path):
    cache = ProgramCache(tmp_path, 35_000)
    programs = []
    for number in range(3):
        programs.append(cache.get({"n": number}, writing(bytes(10_000))))
        os.utime(programs[-1].parent, (number, number))
    cache.get({"n": 0}, writing(b""))  # used again
    cache.get({"n": 3}, writing(bytes(10_000)))
    assert [program.exists() for program in programs] == [True, False, True]


def test_the_entry_just_made_stays_even_if_it_alone_is_too_large(tmp_path):
    cache = ProgramCache(tmp_path, 10)
    assert cache.get(KEY, writing(bytes(1000))).exists()


def test_what_killed_processes_left_is_deleted_after_a_day(tmp_path):
    old, fresh = tmp_path / ".new-old", tmp_path / ".new-fresh"
    for folder in (old, fresh):
        folder.mkdir()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    ProgramCache(tmp_path, 1 << 20).get(KEY, writing(b"a"))
    assert (old.exists(), fresh.exists()) == (False, True)


def _get(folder: Path, ready, content: bytes, found) -> None:
    ready.wait()
    found.put(ProgramCache(folder, 1 << 20).get(KEY, writing(content)).read_bytes())


def test_processes_that_make_the_same_program_agree(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, found = context.Barrier(4), context.Queue()
    contents = [b"%d" % number * 1000 for number in range(4)]
    children = [
        context.Process(target=_get, args=(tmp_path, ready, content, found)) for content in contents
    ]
    for child in children:
        child.start()
    results = [found.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert set(results) <= set(contents)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    last = ProgramCache(tmp_path, 1 << 20).get(KEY, writing(b"unused")).read_bytes()
    assert last in contents


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^engine.cache: .*/file/cache: cannot be written: Not a"):
        ProgramCache(tmp_path / "file" / "cache", 1).get(KEY, writing(b""))


def test_a_cache_that_may_only_be_read_serves_what_it_has(tmp_path):
    program = ProgramCache(tmp_path, 1 << 20).get(KEY, writing(b"a"))
    for path in (program, program.parent, tmp_path):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert ProgramCache(tmp_path, 1 << 20).get(KEY, writing(b"b")) == program
    finally:
        for path in (tmp_path, program.parent):
            path.chmod(0o755)


@pytest.mark.parametrize(("xdg", "expected"), [("/x", "/x/sdbatch"), ("", "~/.cache/sdbatch")])
def test_the_default_is_the_users_cache_folder(monkeypatch, xdg, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert default_cache() == Path(expected).expanduser()


def test_where_the_default_cannot_be_written_it_is_a_temporary_folder(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = default_cache()
    assert (found.parent, found.is_dir()) == (tmp_path, True)
