"""What a reader refuses some bytes with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sdbatch.errors import UserError


def refusal_by(read: Callable[[Path, bytes], object], path: Path, content: bytes) -> str:
    """The error that these bytes give: one line that names the file, which is taken off."""
    with pytest.raises(UserError) as caught:
        read(path, content)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")
