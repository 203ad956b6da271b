"""A real Slurm on this machine: munge, slurmctld, and a slurmd for each of several small nodes.

Nothing of the system's own Slurm is touched: key, sockets, ports, state and logs are in one folder.
Needs Debian's slurm-wlm and munge (tools/setup_programs.sh), no rights.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
MAX_ARRAY_SIZE = 101

_CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0,bf_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
MinJobAge=300
MaxArraySize={max_array_size}
SlurmdTimeout=10
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=DEFAULT CPUs=2 RealMemory=8000 Gres=gpu:a100:2
NodeName=n[1-{nodes}] NodeAddr=127.0.0.1 NodeHostname=localhost Port=[{first}-{last}]
PartitionName=night Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


@dataclass(frozen=True)
class Cluster:
    """A Slurm that runs. `environment`: for commands that talk to it; `slurmds`: by node."""

    folder: Path
    environment: Mapping[str, str]
    slurmds: Mapping[str, subprocess.Popen]

    def ask(self, *command: str) -> str:
        """What a command of Slurm's prints."""
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def queue(self) -> list[tuple[str, str]]:
        """Names as squeue shows them (`12_3`, `13`), and states."""
        lines = self.ask("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return [tuple(line.split()) for line in lines]

    def wait_until_empty(self, seconds: float = 240) -> None:
        """Until no job waits or runs."""
        end = time.monotonic() + seconds
        while self.queue():
            assert time.monotonic() < end, self.describe()
            time.sleep(0.3)

    def lose(self, node: str) -> None:
        """Everything on a node ends at once, as when its power fails."""
        own = [
            pid for pid in _processes()
            if {f"SLURMD_NODENAME={node}", f"SLURM_CONF={self.folder}/slurm.conf"}
            <= set(_read(pid, "environ").split("\0"))
        ]  # fmt: skip
        parents = {int(_read(pid, "stat").rpartition(")")[2].split()[1]) for pid in own}
        stepds = [pid for pid in parents if "slurmstepd" in _read(pid, "comm")]
        # What would tell of it first.
        for pid in [self.slurmds[node].pid, *stepds, *own]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def describe(self) -> str:
        """For a test that waits in vain."""
        return self.ask("squeue") + self.ask("sinfo") + _tail(self.folder / "slurmctld.log")


def lacking() -> list[str]:
    """Programs that are not installed; daemons are where only root looks."""
    return [name for name in PROGRAMS if _find(name) is None]


@contextlib.contextmanager
def cluster(folder: Path, nodes: int = 4) -> Iterator[Cluster]:
    """Start one, and end it with everything that it started."""
    first = _free_ports(nodes + 1)
    (folder / "state").mkdir(parents=True)
    conf = folder / "slurm.conf"
    text = _CONF.format(
        folder=folder, user=getpass.getuser(), nodes=nodes, ports=[first], first=first + 1,
        last=first + nodes, max_array_size=MAX_ARRAY_SIZE,
    )  # fmt: skip
    conf.write_text(text)
    # GPUs are files to Slurm, and any will do.
    (folder / "gres.conf").write_text("Name=gpu Type=a100 File=/dev/null,/dev/zero\n")
    environment = {"SLURM_CONF": str(conf)}
    daemons: list[subprocess.Popen] = []

    def daemon(*command: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [_find(command[0]), *command[1:]], env={**os.environ, **environment},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        daemons.append(process)
        return process

    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    slurmds: dict[str, subprocess.Popen] = {}
    running = Cluster(folder, environment, slurmds)
    try:
        daemon(
            "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        _wait(lambda: (folder / "munge.socket").exists(), running)
        daemon("slurmctld", "-D", "-c")
        for number in range(1, nodes + 1):
            slurmds[f"n{number}"] = daemon("slurmd", "-D", "-N", f"n{number}")
        _wait(lambda: _idle(running) == nodes, running)
        yield running
    finally:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            running.ask("scancel", "--signal=KILL", f"--user={getpass.getuser()}")
            running.ask("scancel", f"--user={getpass.getuser()}")
        for process in reversed(daemons):
            process.send_signal(signal.SIGTERM)
        for process in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _idle(running: Cluster) -> int:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%t"],
        env={**os.environ, **running.environment}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout.split().count("idle")


def _wait(condition, running: Cluster, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, _tail(running.folder / "slurmctld.log")
        time.sleep(0.2)


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody uses."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                taken = stack.enter_context(socket.socket())
                taken.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")


def _tail(path: Path) -> str:
    return path.read_text()[-3000:] if path.exists() else f"{path}: not there"
