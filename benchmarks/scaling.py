"""What an array of tasks would need for a large dataset: a simulation, in no need of a cluster.

    python benchmarks/scaling.py                                # the tables of docs/scaling.md
    python benchmarks/scaling.py --tasks 64 --images 500000 --seconds-per-image 2.5
    python benchmarks/scaling.py --losses-per-hour 0.02         # one cluster, instead of several
    python benchmarks/scaling.py --measure outputs/tonight      # spread of one's own shards

Tasks follow sdbatch's policy (scaling_model.py) on a cluster that loses and pre-empts them. How far
the seconds of shards spread is measured, in shard_seconds.json; every other number is assumed, is
printed, and has an option. See docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine_line
from scaling_model import simulate
from scaling_terms import Cluster, Policy, Result, Work

SPREAD = Path(__file__).resolve().parent / "shard_seconds.json"
SIZES = (32, 64, 128, 256, 512, 1024)

CLUSTERS: Mapping[str, Mapping[str, float]] = {
    "nothing fails": {},
    "1 % of tasks lost an hour": {"losses_per_hour": 0.01},
    "5 % of tasks lost an hour": {"losses_per_hour": 0.05},
    "each pre-empted every hour": {"preemptions_per_hour": 1.0},
    "limit of 4 h, 3 times the images": {"limit_s": 4 * 3600.0},
}
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "no helping": {"helps": False},
    "helpers take the first free shard": {"in_order": True},
    "own shards in others' hands after helping": {"own_first": False},
    "the slower of two attempts goes on": {"gives_up": False},
    "helpers repeat nothing": {"repeats": False, "gives_up": False},
}
PER_TASK = (4, 8, 16, 32)

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all simulations of one call have in common."""

    work: Work
    cluster: Cluster
    policy: Policy
    spread: Sequence[float]
    seeds: int

    def row(self, head: Row, work: Work, cluster: Cluster, policy: Policy | None = None) -> Row:
        """One row of a table: means over all seeds, and the worst."""
        results = [
            simulate(work, cluster, policy or self.policy, self.spread, seed)
            for seed in range(self.seeds)
        ]
        return {**head, **summary(results)}


def measure(dataset: Path, file: Path) -> None:
    """Write the spread of a finished dataset's shards: seconds of an image over their median."""
    records = [json.loads(path.read_text()) for path in sorted(dataset.glob("shards/*/shard.json"))]
    most = max((record["images"] for record in records), default=0)
    whole = [record for record in records if record["images"] == most]
    if not whole:
        sys.exit(f"{dataset}: no finished shard")
    seconds = [record["seconds"] / most for record in whole]
    median = statistics.median(seconds)
    content = {
        "device": whole[0]["device"].partition(":")[0],
        "images_of_a_shard": most,
        "median_seconds_of_an_image": round(median, 4),
        "seconds_over_median": sorted(round(one / median, 3) for one in seconds),
    }
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")


def summary(results: Sequence[Result]) -> Row:
    """The columns that every table has; shares and excesses in %."""

    def mean(values: Sequence[float]) -> float:
        return round(statistics.fmean(values), 2)

    def share(name: str) -> float:
        parts = [asdict(result.account) for result in results]
        return mean([100 * part[name] / sum(part.values()) for part in parts])

    over = [100 * (result.last_shard_s / result.ideal_s - 1) for result in results]
    return {
        "ideal h": mean([result.ideal_s / 3600 for result in results]),
        "last shard": mean(over),
        "worst": round(max(over), 2),
        "last task": mean([100 * (r.end_s / r.ideal_s - 1) for r in results]),
        "idle": share("idle"),
        "away, loading": round(share("away") + share("loading"), 2),
        "lost": share("lost"),
        "twice": share("twice"),
        "helped": round(mean([result.helped for result in results])),
        "listings/s": round(mean([result.listings for result in results])),
        "entries/s": round(mean([result.entries for result in results])),
        "millions of entries": round(mean([result.all_entries / 1e6 for result in results])),
    }


def sizes(setting: Setting, rows: Sequence[int], clusters: Mapping[str, Mapping]) -> list[Row]:
    """Each cluster with each size of shards."""
    table = []
    for name, trouble in clusters.items():
        times = 3 if "limit_s" in trouble else 1
        for size in rows:
            work = replace(setting.work, shard_rows=size, images=times * setting.work.images)
            head = {"cluster": name, "rows of a shard": size}
            table.append(setting.row(head, work, replace(setting.cluster, **trouble)))
    return table


def policies(setting: Setting, clusters: Mapping[str, Mapping]) -> list[Row]:
    """Each policy on each cluster, and on one where every tenth device is half as fast."""
    slow = {"every tenth device half as fast": {"slow_share": 0.1, "slow_factor": 2.0}}
    return [
        setting.row(
            {"cluster": name, "policy": policy},
            setting.work,
            replace(setting.cluster, **trouble),
            replace(setting.policy, **choice),
        )
        for name, trouble in {**clusters, **slow}.items()
        if "limit_s" not in trouble
        for policy, choice in POLICIES.items()
    ]


def short_tables(setting: Setting, clusters: Mapping[str, Mapping]) -> list[Row]:
    """A tenth of the images, in so many shards for each task."""
    images = max(1, setting.work.images // 10)
    rows = images // setting.work.images_per_row
    table = []
    for name, trouble in list(clusters.items())[:2]:
        for shards in PER_TASK:
            size = max(1, -(-rows // (shards * setting.cluster.tasks)))
            work = replace(setting.work, images=images, shard_rows=size)
            head = {"cluster": name, "shards of a task": shards, "rows of a shard": size}
            table.append(setting.row(head, work, replace(setting.cluster, **trouble)))
    return table


def folders(work: Work, tasks: int, rows: Sequence[int]) -> list[Row]:
    """Entries of the largest directories."""
    counts = {size: -(-work.images // (size * work.images_per_row)) for size in rows}
    return [
        {
            "rows of a shard": size,
            "shards/": shards,
            "shards/*/images/": size * work.images_per_row,
            "logs/slurm-*/": tasks + 1,
            "directories in all": 2 * shards + tasks + 5,
        }
        for size, shards in counts.items()
    ]


def print_table(title: str, rows: Sequence[Row]) -> None:
    """As Markdown."""
    print(f"\n{title}\n")
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(_cell(value) for value in row.values()) + " |", flush=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def add_options(parser: argparse.ArgumentParser) -> None:
    """One for every number of work, cluster and policy."""
    for one in (Work(), Cluster(), Policy()):
        for each in fields(one):
            if not isinstance(each.default, bool):
                name = "--" + each.name.replace("_", "-")
                parser.add_argument(name, type=type(each.default), default=each.default)


def chosen(kind: type, arguments: argparse.Namespace) -> Any:
    """A `Work`, `Cluster` or `Policy` of the options."""
    names = {each.name for each in fields(kind)} & vars(arguments).keys()
    return kind(**{name: getattr(arguments, name) for name in names})


def main() -> None:
    """Simulate, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="ROWS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spread", type=Path, default=SPREAD, metavar="FILE")
    parser.add_argument("--measure", type=Path, metavar="DATASET", help="write --spread, and end")
    parser.add_argument("--json", type=Path, metavar="FILE")
    add_options(parser)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.spread)
        return
    started = time.monotonic()
    measured = json.loads(arguments.spread.read_text(encoding="utf-8"))
    work, cluster, policy = (chosen(kind, arguments) for kind in (Work, Cluster, Policy))
    setting = Setting(work, cluster, policy, measured["seconds_over_median"], arguments.seeds)
    troubled = {name for trouble in CLUSTERS.values() for name in trouble}
    own = any(getattr(cluster, name) != getattr(Cluster(), name) for name in troubled)
    clusters = {"as given": {}} if own else CLUSTERS
    print(f"{machine_line()}, numpy {np.__version__}")
    assumed = {"work": asdict(work), "cluster": asdict(cluster), "policy": asdict(policy)}
    for name, numbers in assumed.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in numbers.items()))
    print(f"spread: {measured}")
    print(f"Means of {setting.seeds} seeds; `last shard`, `last task`: % later than ideal; shares")
    print("of the devices' time in %; peaks of a second.")
    tables = {
        "Largest directories": folders(work, cluster.tasks, arguments.sizes),
        "Sizes of shards": sizes(setting, arguments.sizes, clusters),
        f"Policies, {work.shard_rows} rows a shard": policies(setting, clusters),
        "A tenth of the images": short_tables(setting, clusters),
    }
    for title, rows in tables.items():
        print_table(title, rows)
    print(f"\n{time.monotonic() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({"assumed": assumed, "tables": tables}, indent=1))


if __name__ == "__main__":
    main()
