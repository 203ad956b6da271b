import subprocess
import sys

import pytest

from sdbatch.text.segmenter import BadDictionary, Segmenter


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            "云原生\n云 原 生\n".encode(),
            "line 2: expected WORD [FREQUENCY] [TAG], found '云 原 生'",
        ),
        ("云原生 -3".encode(), "line 1: expected WORD [FREQUENCY] [TAG], found '云原生 -3'"),
        (b"\xff\xfe", "cannot be read: "),
        (None, "cannot be read: "),
    ],
)
def test_a_dictionary_that_is_none_is_refused_with_its_line(tmp_path, content, why):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadDictionary) as refused:
        Segmenter(str(path))
    assert str(refused.value).startswith(f"{path}: {why}")


def test_empty_lines_are_nothing(tmp_path):
    (tmp_path / "words.txt").write_text("\n云原生\n\n")
    assert Segmenter(str(tmp_path / "words.txt")).words("云原生") == ["云原生"]


def test_nothing_is_read_from_or_left_in_the_temporary_folder(tmp_path):
    """jieba's own cache there is unmarshalled, whoever wrote it."""
    (tmp_path / "jieba.cache").write_bytes(b"not jieba's")
    code = "from sdbatch.text.segmenter import Segmenter; print(Segmenter().words('城市夜景'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True,
        env={"TMPDIR": str(tmp_path), "PATH": "", "PYTHONPATH": ".", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("['城市', '夜景']\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["jieba.cache"]
    assert (tmp_path / "jieba.cache").read_bytes() == b"not jieba's"
