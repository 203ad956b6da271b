"""Killed before any one of its steps, making a dataset goes on to the same end.

The steps of writing shards and merging them (each file opened, folder made, fsync, rename, removal)
are counted, and a process is killed with SIGKILL before step 0, before step 1, and so on to the
last. After each kill what is visible must be whole, and making it again must end alike.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Forks a process for every point, so that imports are paid once.
MAKER = '''
import itertools, json, os, signal, sys
from pathlib import Path
import pyarrow as pa
from sdbatch.dataset.merge import merge
from sdbatch.dataset.schema import dataset_schema
from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import Plan
from sdbatch.run_record import adopt_run
from tests.examples import metadata_row, some_settings

PLAN = Plan(some_settings(), rows=4, images=4, shard_size=2)
SCHEMA = dataset_schema(pa.schema([]), {})
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"}

def make(folder):
    adopt_run(folder, PLAN, {}, "2026-01-01T00:00:00+00:00")
    store = ShardStore(folder)
    store.create()
    store.discard_abandoned()
    for shard in range(PLAN.shards):
        name = PLAN.shard_name(shard)
        if store.exists(name):
            continue
        with store.begin(name) as writer:
            rows = []
            for row in range(*PLAN.shard_rows(shard)):
                image = f"{row}-000"
                made = writer.add_image(image, f"picture {row}".encode())
                rows.append(metadata_row(image, status="ok", shard_id=name, **made))
            writer.commit(rows, SCHEMA, {})
    merge(store, PLAN, SCHEMA)
    store.discard_abandoned()

def killed_before(step, folder):
    """Whether the process was killed, and not done before it came so far."""
    child = os.fork()
    if child == 0:
        steps = itertools.count()
        real_fsync = os.fsync
        def count(event, *_):
            if event in STEPS and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
        def fsync(descriptor):
            count("open")
            real_fsync(descriptor)
        os.fsync = fsync
        sys.addaudithook(count)
        make(folder)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

def visible(folder):
    """Rows and pictures that readers can see; raises if anything is not whole."""
    store = ShardStore(folder)
    for name in sorted(store.done()):
        for row in store.read_metadata(name).to_pylist():
            text = (folder / row["file_name"]).read_bytes().decode()
            yield name, row["image_id"], text

def listing(folder):
    names = [str(p.relative_to(folder)) for p in folder.rglob("*")]
    return sorted(name for name in names if not name.startswith(".run.json."))

base = Path(sys.argv[1])
make(base / "undisturbed")
expected, names = list(visible(base / "undisturbed")), listing(base / "undisturbed")
results = []
for step in itertools.count():
    folder = base / str(step)
    killed = killed_before(step, folder)
    seen = list(visible(folder))
    make(folder)
    same = list(visible(folder)) == expected and listing(folder) == names
    results.append({"killed": killed, "seen": len(seen), "whole": seen == expected[:len(seen)],
                    "same": same, "left": sorted(set(listing(folder)) ^ set(names))})
    if not killed:
        break
print(json.dumps(results))
'''


def test_killed_before_any_step_it_goes_on_to_the_same_end(tmp_path):
    made = subprocess.run(
        [sys.executable, "-c", MAKER, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    results = json.loads(made.stdout)
    kills = [result for result in results if result["killed"]]
    assert len(kills) > 40
    assert results[-1]["killed"] is False
    for step, result in enumerate(results):
        assert result["whole"] and result["seen"] in (0, 2, 4), (step, result)
        assert result["same"], (step, result["left"])
    assert {result["seen"] for result in kills} == {0, 2, 4}
