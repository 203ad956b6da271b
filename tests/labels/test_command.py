"""`python -m sdbatch.labels FILE...`, the real command."""

import json

from sdbatch.dataset.images import ImageFormat, encode
from sdbatch.labels import Label
from tests.labels.test_files import picture

PLAIN = encode(picture(), "", ImageFormat("jpeg"))


def test_labels_are_printed_and_what_has_none_is_told(sdbatch, tmp_path):
    (tmp_path / "好.jpg").write_bytes(Label("新华社").attached(PLAIN, "n"))
    (tmp_path / "bare.jpg").write_bytes(PLAIN)
    run = sdbatch("好.jpg", "bare.jpg", module="sdbatch.labels")
    assert run.returncode == 3
    name, _, text = run.stdout.partition(": ")
    assert (name, json.loads(text)["ContentProducer"]) == ("好.jpg", "新华社")
    assert run.stderr == "sdbatch: bare.jpg: no XMP in the file\n"
    assert sdbatch("好.jpg", module="sdbatch.labels").returncode == 0


def test_a_file_that_is_not_there_is_one_line(sdbatch):
    run = sdbatch("gone.png", module="sdbatch.labels")
    assert (run.returncode, run.stderr) == (
        1, "sdbatch: error: gone.png: No such file or directory\n",
    )  # fmt: skip


def test_without_a_file_it_says_what_is_expected(sdbatch):
    run = sdbatch(module="sdbatch.labels")
    assert run.returncode == 1
    assert run.stderr.endswith("the following arguments are required: FILE\n")
