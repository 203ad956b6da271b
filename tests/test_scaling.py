"""The simulation of a cluster: nothing is made twice or forgotten, and its account is whole."""

from __future__ import annotations

import json
from dataclasses import astuple, replace

import pytest

from tests.conftest import ROOT

EVEN = [1.0]
UNEVEN = [0.9, 1.0, 1.0, 1.3]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Benchmarks are scripts: each finds the others in its own folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def terms():
    import scaling_terms

    return scaling_terms


@pytest.fixture
def trouble(terms):
    """A small cluster on which everything happens."""
    return terms.Cluster(
        tasks=20, losses_per_hour=0.5, preemptions_per_hour=1.0, limit_s=7200.0, slow_share=0.2
    )


@pytest.fixture
def work(terms):
    """Some 2.8 hours of 20 devices, in 1,563 shards."""
    return terms.Work(images=200_000, shard_rows=128)


def simulate(*arguments, **more):
    from scaling_model import simulate

    return simulate(*arguments, **more)


def test_one_device_that_nothing_disturbs_takes_the_sum(terms):
    work = terms.Work(images=1000, shard_rows=64, seconds_per_image=0.5)
    cluster = terms.Cluster(tasks=1, start_s=0.0, load_s=0.0)
    result = simulate(work, cluster, terms.Policy(), EVEN)
    assert result.made_by == [0] * 16
    assert result.last_shard_s == result.end_s == result.ideal_s == pytest.approx(500)
    assert result.account == terms.Account(useful=pytest.approx(500))


@pytest.mark.parametrize(
    "choice",
    [{}, {"helps": False}, {"in_order": True, "own_first": False}, {"gives_up": False},
     {"repeats": False, "gives_up": False}],
    ids=str,
)  # fmt: skip
def test_every_shard_is_made_and_every_second_accounted_for(terms, work, trouble, choice):
    result = simulate(work, trouble, terms.Policy(**choice), UNEVEN, seed=3)
    assert len(result.made_by) == 1563 and all(0 <= task < 20 for task in result.made_by)
    assert result.stops > 20
    assert sum(astuple(result.account)) == pytest.approx(20 * result.end_s)
    assert (result.helped == 0) == (choice == {"helps": False})


def test_useful_time_is_the_work_once_whatever_is_made_twice(terms, work, trouble):
    cluster = replace(trouble, slow_share=0.0)
    result = simulate(work, cluster, terms.Policy(repeats=True), UNEVEN, seed=1)
    assert result.account.twice > 0 and result.account.lost > 0
    assert result.account.useful == pytest.approx(20 * result.ideal_s)


def test_the_same_seed_gives_the_same(terms, work, trouble):
    one, same, other = (
        simulate(work, trouble, terms.Policy(), UNEVEN, seed=seed) for seed in (5, 5, 6)
    )
    assert one == same != other


def test_helpers_shorten_the_end(terms, work):
    cluster = terms.Cluster(tasks=20, slow_share=0.2)
    helped, alone = (
        simulate(work, cluster, terms.Policy(helps=helps), UNEVEN).last_shard_s
        for helps in (True, False)
    )
    assert helped < 0.7 * alone


def test_a_warned_task_finishes_what_fits_into_its_grace(terms, work):
    cluster = terms.Cluster(tasks=20, preemptions_per_hour=2.0, grace_s=128.0)
    assert simulate(work, cluster, terms.Policy(), EVEN).account.lost == 0
    short = replace(cluster, grace_s=10.0)
    assert simulate(work, short, terms.Policy(), EVEN).account.lost > 0


def test_the_spread_of_a_dataset_is_that_of_its_whole_shards(tmp_path):
    from scaling import measure

    for number, (images, seconds) in enumerate([(4, 8.0), (4, 10.0), (4, 12.0), (1, 9.0)]):
        folder = tmp_path / "shards" / f"{number:05d}"
        folder.mkdir(parents=True)
        record = {"images": images, "seconds": seconds, "device": "gpu:0"}
        (folder / "shard.json").write_text(json.dumps(record))
    measure(tmp_path, tmp_path / "spread.json")
    assert json.loads((tmp_path / "spread.json").read_text()) == {
        "device": "gpu",
        "images_of_a_shard": 4,
        "median_seconds_of_an_image": 2.5,
        "seconds_over_median": [0.8, 1.0, 1.2],
    }


def test_the_command_prints_its_tables(capsys, monkeypatch, tmp_path):
    import scaling

    file = tmp_path / "out.json"
    options = ["--tasks", "5", "--images", "2000", "--sizes", "16", "--shard-rows", "16"]
    argv = ["scaling.py", *options, "--seeds", "1", "--losses-per-hour", "1", "--json", str(file)]
    monkeypatch.setattr("sys.argv", argv)
    scaling.main()
    tables = json.loads(file.read_text())["tables"]
    assert [row["cluster"] for row in tables["Sizes of shards"]] == ["as given"]
    assert "| as given | 16 |" in capsys.readouterr().out
