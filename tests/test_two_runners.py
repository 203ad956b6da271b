"""Two runs of one job at once: two real commands on one new folder."""

import json
from pathlib import Path

import pytest

from sdbatch.errors import EXIT_DONE, EXIT_USER_ERROR
from tests.runner import runs
from tests.runner.faults import Await, Faulty, Pause

ROWS = 60


@pytest.fixture
def table(tmp_path) -> Path:
    return runs.a_table(tmp_path, ROWS)


@pytest.mark.parametrize("workers", [(1, 1), (2, 1)])
def test_share_its_shards(tmp_path, table, workers):
    data = tmp_path / "data"
    # The one that is first waits for the other.
    together = Faulty({"": Await(data, "60 images in 60 shards", 2)})
    both = [
        runs.start(table, data, "output.shard_size=1", f"workers={count}", load=together)
        for count in workers
    ]
    for run in both:
        ended = runs.ended(run)
        assert (ended.code, ended.stdout) == (EXIT_DONE, f"{data}\n")
    alone = tmp_path / "alone"
    assert runs.run(table, alone, "output.shard_size=1").exit_code == EXIT_DONE
    assert len(runs.contents(data)) == ROWS
    assert runs.contents(data) == runs.contents(alone)
    attempts = [
        json.loads(record.read_text())["attempt"] for record in data.glob("shards/*/shard.json")
    ]
    makers = {attempt.split(".")[3] for attempt in attempts}
    assert len(makers) > 1
    assert len(list((data / "logs").iterdir())) == 2


def test_agree_on_the_shards_of_the_one_that_was_first(tmp_path, table):
    data = tmp_path / "data"
    both = [runs.start(table, data, f"output.shard_size={size}") for size in (7, 11)]
    for run in both:
        ended = runs.ended(run)
        assert (ended.code, ended.stdout) == (EXIT_DONE, f"{data}\n")
    size = json.loads((data / "run.json").read_text())["shard_size"]
    assert size in (7, 11)
    assert len(list((data / "shards").iterdir())) == -(-ROWS // size)
    assert len(runs.contents(data)) == ROWS


def test_with_other_settings_are_not_mixed(tmp_path, table):
    data = tmp_path / "data"
    slow = Faulty({"": Pause(0.02)})
    both = [
        runs.start(table, data, "output.shard_size=2", f"seed={seed}", load=slow) for seed in (1, 2)
    ]
    one, other = sorted(map(runs.ended, both), key=lambda ended: ended.code)
    assert (one.code, one.stdout) == (EXIT_DONE, f"{data}\n")
    assert (other.code, other.stdout) == (EXIT_USER_ERROR, "")
    assert other.complaint.startswith(
        f"{data / 'run.json'}: the dataset was made with other settings: seed was "
    )
    fingerprints = {row["fingerprint"] for row in runs.contents(data).values()}
    assert fingerprints == {json.loads((data / "run.json").read_text())["fingerprint"]}
