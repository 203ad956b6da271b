"""Linters that tests run on what is not Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def run_linter(name: str, *arguments: str, text: str | None = None) -> None:
    """Run a linter of this environment (both come from the dev extra), else one on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(name, path=path)
    assert program, f"{name} is not installed: it is in the dev extra"
    result = subprocess.run([program, *arguments], input=text, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
