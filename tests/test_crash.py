"""Killed at random moments, again and again, the same command ends with the same dataset.

Every run is the real command on a rehearsal's engine (random pixels; everything else is real), in a
process group of its own, killed with SIGKILL: the whole group, the parent alone, or one worker.
`SDBATCH_KILLS=200 pytest tests/test_crash.py` is the long form (`make crash-test`).
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parent.parent
KILLS = int(os.environ.get("SDBATCH_KILLS", "12"))
ROWS = 40
CHANGING = (
    "created_at", "latency_s", "batch_size_used", "attempts", "device",
)  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a table: Chinese ids, several images to a row, two sizes."""
    import pyarrow as pa

    folder = tmp_path_factory.mktemp("crash")
    table = pa.table(
        {
            "id": [f"新闻-{row:03d}" for row in range(ROWS)],
            "prompt": [f"一张照片 {row}" for row in range(ROWS)],
            "images_per_prompt": [1 + row % 3 for row in range(ROWS)],
            "width": [256 if row % 5 else 320 for row in range(ROWS)],
            "topic": [f"主题 {row % 7}" for row in range(ROWS)],
        }
    )
    pq.write_table(table, folder / "table.parquet")
    return folder


def start(workplace: Path, name: str, workers: int) -> subprocess.Popen:
    """The command, leading a process group of its own."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "sdbatch", "engine=random", "prompts.path=table.parquet",
            f"output.dir={name}", "output.shard_size=2", "height=256", f"workers={workers}",
        ],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )  # fmt: skip


def finish(run: subprocess.Popen) -> None:
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors


def content(folder: Path) -> tuple[list[dict], dict[str, str]]:
    """What must be equal: metadata without times and attempts, and the digest of every image."""
    table = pq.read_table(folder / "metadata.parquet").drop_columns(list(CHANGING))
    images = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("shards/*/images/*")
    }
    rows = table.to_pylist()
    assert {row["file_name"]: row["sha256"] for row in rows} == images
    return rows, images


@pytest.fixture(scope="module")
def undisturbed(workplace):
    finish(start(workplace, "undisturbed", workers=1))
    return content(workplace / "undisturbed")


def wait_for(condition, run: subprocess.Popen) -> None:
    while run.poll() is None and not condition():
        time.sleep(0.002)


def kill_somewhere(run: subprocess.Popen, folder: Path, chance: random.Random) -> str:
    """Kill at a random moment of a random phase; returns what was killed, and when."""
    phase = chance.choices(["starting", "working", "merging"], [1, 6, 2])[0]
    if phase == "starting":
        time.sleep(chance.uniform(0, 2.5))
    elif phase == "working":
        before = len(list(folder.glob("shards/*")))
        wait_for(lambda: len(list(folder.glob("_tmp/*"))) > 0, run)
        wait_for(lambda: len(list(folder.glob("shards/*"))) >= before + chance.randint(0, 3), run)
        time.sleep(chance.uniform(0, 0.15))
    else:
        wait_for(lambda: len(list(folder.glob("shards/*"))) == ROWS // 2, run)
        time.sleep(chance.uniform(0, 0.4))
    target = chance.choices(["group", "parent", "worker"], [7, 2, 1])[0]
    if run.poll() is not None:
        return f"{phase}: over"
    if target == "worker":
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        if children:
            os.kill(int(chance.choice(children)), signal.SIGKILL)
        return f"{phase}: {target}"
    if target == "parent":
        run.kill()
    else:
        os.killpg(run.pid, signal.SIGKILL)
    return f"{phase}: {target}"


def test_any_series_of_kills_ends_with_the_undisturbed_dataset(workplace, undisturbed):
    seed = int(os.environ.get("SDBATCH_SEED", random.SystemRandom().randrange(2**32)))
    print(f"SDBATCH_SEED={seed}")
    chance, kills, datasets = random.Random(seed), Counter(), 0
    while sum(kills.values()) < KILLS:
        folder = workplace / f"disturbed-{datasets}"
        while sum(kills.values()) < KILLS:
            run = start(workplace, folder.name, workers=chance.randint(1, 3))
            killed = kill_somewhere(run, folder, chance)
            _, errors = run.communicate(timeout=300)
            if killed.endswith("over"):
                assert run.returncode == 0, errors
                break
            kills[killed] += 1
        finish(start(workplace, folder.name, workers=chance.randint(1, 3)))
        assert content(folder) == undisturbed
        # Killed at its very first write, a run may leave a temporary of run.json.
        assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".run.json.")) == [
            "_tmp", "logs", "metadata.parquet", "repairs", "run.json", "shards", "summary.json",
        ]  # fmt: skip
        assert list((folder / "_tmp").iterdir()) == []
        datasets += 1
    print(f"{sum(kills.values())} kills in {datasets} datasets: {dict(kills)}")
