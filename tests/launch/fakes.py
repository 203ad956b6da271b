"""Stand-ins for Slurm's commands: they note how they are called, and answer as they are told."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """#!{python}
import json, pathlib, sys
name, folder = pathlib.Path(__file__).name, pathlib.Path(__file__).parent
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
answers = json.loads((folder / f"{{name}}.json").read_text())
answer = answers.pop(0) if len(answers) > 1 else answers[0]
(folder / f"{{name}}.json").write_text(json.dumps(answers))
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["code"])
"""


@dataclass(frozen=True)
class Fakes:
    """A folder that is first on PATH, with the commands that a test puts there."""

    folder: Path

    def says(self, name: str, *stdout: str) -> None:
        """The command answers with these texts in turn, and stays with the last."""
        self._write(name, [{"stdout": text, "stderr": "", "code": 0} for text in stdout])

    def then_fails(self, name: str, *stdout: str, stderr: str, code: int = 1) -> None:
        """It answers with these texts in turn, and then fails."""
        answers = [{"stdout": text, "stderr": "", "code": 0} for text in stdout]
        self._write(name, [*answers, {"stdout": "", "stderr": stderr, "code": code}])

    def calls(self, name: str) -> list[list[str]]:
        """Arguments of each call."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call[1:] for call in map(json.loads, lines) if call[0] == name]

    def _write(self, name: str, answers: list) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(answers))
        program = self.folder / name
        program.write_text(_PROGRAM.format(python=shlex.quote(sys.executable)))
        program.chmod(0o755)
