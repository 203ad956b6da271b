"""One task on a node of a Ray cluster: a process that does not outlive its actor.

Ray sends this module to the nodes as it is, so it uses the standard library alone: only the
process needs an installed sdbatch.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL = 1 << 16
"""Bytes at the end of what a task printed in which its last words are looked for."""

# The kernel kills it when the thread that started it ends, however that comes about; where the
# actor died before the kernel was told so, its number is not the parent's any more.
_MORTAL = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
if os.getppid() != int(sys.argv[1]):
    sys.exit(75)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


class TaskProcess:
    """The actor. `run` and `stop` are called at once, from two threads."""

    def __init__(
        self,
        python: str | None,
        words: Sequence[str],
        cwd: str,
        environment: Mapping[str, str],
        output: str,
    ):
        """Nothing runs yet.

        Args:
            python: None: the one that Ray itself runs in on this node.
            words: behind python.
            cwd: the folder to run in.
            environment: on top of what Ray set, which says which GPUs are the task's.
            output: the file to which all that it prints is appended.
        """
        self._command = [python or sys.executable, *words]
        self._cwd, self._environment, self._output = cwd, environment, Path(output)
        self._process: subprocess.Popen | None = None
        self._stopping = False
        self._changing = threading.Lock()

    def node(self) -> str:
        """The name of the machine: it has begun."""
        return socket.gethostname()

    def run(self) -> tuple[int, str]:
        """Run the process; returns its exit code (-N: by signal N) and its last words."""
        try:
            with self._changing, self._output.open("ab") as output:
                if self._stopping:
                    return -signal.SIGTERM, ""
                start = output.tell()
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _MORTAL, str(os.getpid()), *self._command],
                    cwd=self._cwd,
                    env={**os.environ, **self._environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in the driver's terminal is not for it
                )
            code = self._process.wait()
            return code, _last_words(self._output, start)
        except OSError as error:
            return 1, f"{error.filename}: {error.strerror} (on {self.node()})"

    def stop(self, seconds: float) -> None:
        """Ask the process to end; what is there after so many seconds is killed."""
        with self._changing:
            self._stopping = True
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _last_words(output: Path, start: int) -> str:
    """The last error since `start`, or else the last line."""
    with output.open("rb") as file:
        file.seek(max(output.stat().st_size - _TAIL, start))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("sdbatch: error: ")]
    return (errors or lines or ["no output"])[-1].removeprefix("sdbatch: error: ")
