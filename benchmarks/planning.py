"""Planning ten million rows, and finding what is left of a hundred thousand shards.

    python benchmarks/planning.py --rows 10000000 --shards 100000

Makes a table (text ids, prompts of some 70 characters), then, in a process of its own, does what a
run does before its workers start: reads and checks the table, plans, lists the shards. Half of
the shards are there.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine_line

ROOT = Path(__file__).resolve().parent.parent
_SLICE = 200_000


def write_table(path: Path, rows: int) -> None:
    """A table of `id` and `prompt`."""
    schema = pa.schema([("id", pa.string()), ("prompt", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, _SLICE):
            numbers = range(start, min(start + _SLICE, rows))
            ids = [f"news-2026-{n:08d}" for n in numbers]
            prompts = [f"press photograph {n}, a city at night in the rain, 35 mm" for n in numbers]
            writer.write_table(pa.table([ids, prompts], schema=schema))


def plan(table: str, out: str, rows: int, shards: int) -> None:
    """In the child: plan, then scan; prints seconds and peak memory."""
    from hydra import compose, initialize_config_dir

    from sdbatch import config
    from sdbatch.dataset.shard import ShardStore
    from sdbatch.runner.prepare import prepare
    from sdbatch.runner.units import units_left

    config.register()
    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        overrides = [
            "engine=random", f"prompts.path={table}", f"output.dir={out}",
            f"output.shard_size={-(-rows // shards)}",
        ]  # fmt: skip
        composed = compose("config", overrides=overrides)
    started = time.monotonic()
    job = prepare(config.validate(composed)).job
    planned = time.monotonic()
    store = ShardStore(job.folder)
    (job.folder / "shards").mkdir(parents=True)
    for shard in range(0, shards, 2):
        (store.shards / job.plan.shard_name(shard)).mkdir()
    made = time.monotonic()
    units = units_left(job.plan, store)
    scanned = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{job.plan.rows:,} rows planned in {planned - started:.1f} s; of {job.plan.shards:,} "
        f"shards {len(units):,} found to be left in {scanned - made:.2f} s; peak {peak:.2f} GB"
    )


def main() -> None:
    """Make the table, time the child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        plan(*arguments.child, arguments.rows, arguments.shards)
        return
    print(machine_line())
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        write_table(table, arguments.rows)
        sizes = ["--rows", str(arguments.rows), "--shards", str(arguments.shards)]
        subprocess.run(
            [sys.executable, __file__, *sizes, "--child", str(table), f"{folder}/out"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )


if __name__ == "__main__":
    main()
