"""Peers that take turns: each is a process that stays, loaded and warm, and waits to be asked.

A peer is named kind/engine/precision, e.g. `sdbatch/inference/fp32`, `diffusers/compile/bf16`. The
kind says which Python runs it, the engine how its networks are run:

    sdbatch, sdbatch26   dygraph, static, inference     (--python, --paddle26-python)
    diffusers            sdpa, compile                  (--torch-python)
    ppdiffusers          dygraph                        (--ppdiffusers-python)

`static+cinn` and `inference+tensorrt` are engines of sdbatch with a compiler, on a GPU.

One that cannot be started or fails is reported in a line and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The threads of OpenMP spin for 0.2 s after their work, which would be in the next peer's way.
PAUSE_S = 0.3

Answer = dict[str, Any]


class PeerFailed(Exception):
    """A peer that is not there, or died, and what it said last."""


@dataclass(frozen=True)
class Setting:
    """What all peers of a run are started with.

    Attributes:
        folder: the checkpoint, in diffusers' layout.
        device: cpu or gpu.
        cache: the folder of compiled programs; None: the user's.
        pythons: by kind.
    """

    folder: Path
    device: str
    cache: str | None
    pythons: Mapping[str, str]


class Peer:
    """One process, started and asked by this one.

    Args:
        name: see above.
        setting: of the run.
        environment: added to what it inherits.

    Raises:
        PeerFailed: it could not be started.
    """

    def __init__(self, name: str, setting: Setting, environment: Mapping[str, str] | None = None):
        self.name = name
        try:
            kind, engine, self.precision = name.split("/")
            python = setting.pythons[kind]
        except (ValueError, KeyError):
            raise PeerFailed(f"{name}: no such peer, or no Python given for it") from None
        spec = {
            "kind": kind,
            "engine": engine,
            "precision": self.precision,
            "folder": str(setting.folder.resolve()),
            "device": setting.device,
            "cache": setting.cache,
        }
        self.log = Path(tempfile.mkstemp(suffix=".log")[1])
        with self.log.open("w") as log:
            try:
                self._process = subprocess.Popen(
                    [python, str(HERE / "child.py"), json.dumps(spec)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **(environment or {})},
                )
            except OSError as error:
                self.log.unlink()
                raise PeerFailed(f"{name}: {python}: {error.strerror}") from error
        self.version: str = self._answer()["version"]

    def ask(self, do: str, **arguments: Any) -> Answer:
        """Let it do something, and wait.

        Raises:
            PeerFailed: it died of it.
        """
        with contextlib.suppress(BrokenPipeError):  # then its last words are read
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self.log.unlink(missing_ok=True)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _answer(self) -> Answer:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        lines = self.log.read_text(errors="replace").strip().splitlines()
        self.close()
        raise PeerFailed(f"{self.name}: {lines[-1] if lines else 'died without a word'}")


class Group:
    """The peers of a run, in the order they were named; a context that ends them.

    Args:
        names: of peers.
        setting: of the run.
        networks: what they load.
    """

    def __init__(self, names: Iterable[str], setting: Setting, networks: Sequence[str]):
        self.peers: list[Peer] = []
        for name in names:
            try:
                peer = Peer(name, setting)
                peer.ask("load", networks=networks)
                self.peers.append(peer)
            except PeerFailed as error:
                _left_out(error)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *error: object) -> None:
        for peer in self.peers:
            peer.close()

    @property
    def versions(self) -> dict[str, str]:
        """Of what each peer runs on."""
        return {peer.name: peer.version for peer in self.peers}

    def turns(self, rounds: int, do: str, **arguments: Any) -> dict[str, list[Answer]]:
        """Ask each in turn, again and again, after one turn that is not counted.

        In that first one the others' results are compared with the reference's: the first of
        PyTorch in float32, otherwise the first of all.

        Returns:
            The answers of each peer that did not fail, with `error` in the first.
        """
        answers: dict[str, list[Answer]] = {}
        errors = {}
        with tempfile.TemporaryDirectory() as folder:
            kept = {"save": f"{folder}/result.npy"}
            for peer in sorted(self.peers, key=_is_no_reference):
                first = self._ask(peer, do, **arguments, **kept)
                if first is not None:
                    errors[peer.name] = first.get("error")
                    kept = {"compare": f"{folder}/result.npy"}
        for _ in range(rounds):
            for peer in list(self.peers):
                answer = self._ask(peer, do, **arguments)
                if answer is not None:
                    answers.setdefault(peer.name, []).append(answer)
        for name, given in answers.items():
            given[0]["error"] = errors[name]
        return {peer.name: answers[peer.name] for peer in self.peers}

    def peaks(self) -> dict[str, float]:
        """Operations a second of the best product of matrices, by precision."""
        best: dict[str, float] = {}
        for peer in list(self.peers):
            answer = self._ask(peer, "peak")
            if answer is not None:
                best[peer.precision] = max(best.get(peer.precision, 0), answer["flops"])
        return best

    def _ask(self, peer: Peer, do: str, **arguments: Any) -> Answer | None:
        time.sleep(PAUSE_S)
        try:
            return peer.ask(do, **arguments)
        except PeerFailed as error:
            self.peers.remove(peer)
            return _left_out(error)


def _is_no_reference(peer: Peer) -> bool:
    return not (peer.name.startswith("diffusers/sdpa") and peer.precision == "fp32")


def _left_out(error: PeerFailed) -> None:
    print(f"left out: {error}", file=sys.stderr)


def parser(description: str, *, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks of peers have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path, help="a checkpoint in diffusers' layout")
    made.add_argument("--peers", nargs="+", help="by default all that a Python is given for")
    made.add_argument("--precisions", nargs="+", default=["fp32"], help="of the default peers")
    made.add_argument("--python", default=sys.executable, help="with Paddle")
    made.add_argument("--paddle26-python", help="with the other line of Paddle")
    made.add_argument("--torch-python", help="with PyTorch and diffusers")
    made.add_argument("--ppdiffusers-python", help="with Paddle and ppdiffusers")
    made.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--cache", help="folder of compiled programs; by default the user's")
    made.add_argument("--side", type=int, help="of the pictures; by default the trained one")
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--json", type=Path, help="write the results there too")
    return made


def setting_of(given: argparse.Namespace) -> Setting:
    """What `parser` read."""
    pythons = {
        "sdbatch": given.python,
        "sdbatch26": given.paddle26_python,
        "diffusers": given.torch_python,
        "ppdiffusers": given.ppdiffusers_python,
    }
    pythons = {kind: python for kind, python in pythons.items() if python}
    return Setting(given.folder, given.device, given.cache, pythons)


def names_of(given: argparse.Namespace, setting: Setting) -> list[str]:
    """The peers that were asked for, or all there can be."""
    ways = {
        "sdbatch": ["inference"],
        "sdbatch26": ["inference"],
        "diffusers": ["sdpa", "compile"],
        "ppdiffusers": ["dygraph"],
    }
    return given.peers or [
        f"{kind}/{way}/{precision}"
        for precision in given.precisions
        for kind in setting.pythons
        for way in ways[kind]
    ]


def median(answers: Iterable[Answer], key: str = "seconds") -> float:
    """Of one number of the answers."""
    return statistics.median(answer[key] for answer in answers)


def ratio(answers: Sequence[Answer], first: Sequence[Answer]) -> float:
    """How many times as long as the first peer it took, round by round."""
    pairs = zip(answers, first, strict=True)
    return statistics.median(one["seconds"] / other["seconds"] for one, other in pairs)
