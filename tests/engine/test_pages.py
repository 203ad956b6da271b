"""Memory given back: pages of mapped files leave the process, and their content stays right."""

import mmap
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdbatch.engine.pages import forget_file_pages

SIZE = 8 << 20


@pytest.fixture
def mapped(tmp_path):
    """A file, and a private map of it that was read."""
    path = tmp_path / "weights.bin"
    content = np.random.default_rng(0).bytes(SIZE)
    path.write_bytes(content)
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    assert pages[:] == content
    return path, pages, content


def resident(path: Path) -> int:
    """Bytes of the file's maps that this process holds."""
    found = 0
    for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        if str(path) in block.splitlines()[0]:
            found += int(re.search(r"Rss:\s+(\d+)", block)[1]) * 1024
    return found


def test_pages_of_a_file_go_and_come_back(mapped):
    path, pages, content = mapped
    assert resident(path) >= SIZE
    assert forget_file_pages([path]) >= SIZE
    assert resident(path) == 0
    assert pages[:] == content


def test_other_files_keep_theirs(mapped, tmp_path):
    path, pages, _ = mapped
    assert forget_file_pages([tmp_path / "other.bin"]) == 0
    assert resident(path) >= SIZE
    assert len(pages) == SIZE


def test_a_system_without_such_a_list_forgets_nothing(tmp_path):
    assert forget_file_pages([tmp_path], maps=tmp_path / "absent") == 0


def test_large_blocks_are_kept_for_reuse():
    """Without it each new block would be cleared by the kernel, page by page."""
    code = (
        "import resource, numpy as np\n"
        "from sdbatch.engine.pages import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "np.ones(16 << 20)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): np.ones(16 << 20)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) < 1000  # of 327,680 pages
