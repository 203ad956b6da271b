"""Of each image, the latest success counts; where there is none, the latest attempt."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.dataset.repairs import by_shard, is_repair, repaired
from tests.examples import many_columns

STATUSES = st.sampled_from(["ok", "failed", "blank"])
IMAGES = [f"{number}-000" for number in range(6)]
ATTEMPTS = st.dictionaries(st.sampled_from(IMAGES), STATUSES)
SHARDS = st.lists(STATUSES, max_size=len(IMAGES)).map(
    lambda found: dict(zip(IMAGES, found, strict=False))
)


def a_table(outcomes: dict[str, str], attempt: int) -> pa.Table:
    return pa.table(
        {
            "image_id": pa.array(outcomes.keys(), pa.string()),
            "status": pa.array(outcomes.values(), pa.string()),
            "attempt": pa.array([attempt] * len(outcomes), pa.int64()),
        }
    )


@given(shard=SHARDS, repairs=st.lists(ATTEMPTS, max_size=4))
@settings(deadline=None)
def test_every_image_has_its_latest_success_or_else_its_latest_attempt(shard, repairs):
    chain = [shard, *repairs]
    expected = []
    for image_id in shard:
        tries = [(number, one[image_id]) for number, one in enumerate(chain) if image_id in one]
        successes = [one for one in tries if one[1] == "ok"]
        number, status = (successes or tries)[-1]
        expected.append({"image_id": image_id, "status": status, "attempt": number})
    tables = [a_table(outcomes, number) for number, outcomes in enumerate(chain)]
    assert repaired(tables[0], tables[1:]).to_pylist() == expected


def test_a_shard_without_repairs_stays_as_it_is():
    shard = a_table({"a": "ok", "b": "failed"}, 0)
    assert repaired(shard, []) is shard


def test_columns_may_be_of_any_type():
    own = many_columns()
    shard = pa.table({"image_id": ["a", "b"], "status": ["failed", "ok"]})
    repair = pa.table({"image_id": ["a"], "status": ["ok"]})
    for field, column in zip(own.schema, own.columns, strict=True):
        shard = shard.append_column(field, column)
        repair = repair.append_column(field, column.slice(1, 1))
    rows = repaired(shard, [repair])
    assert rows.schema == shard.schema
    assert rows.to_pylist() == [*repair.to_pylist(), shard.to_pylist()[1]]


class TestNames:
    def test_of_repairs_lead_to_their_shard_in_numeric_order(self):
        names = ["00042.r10", "00007.r1", "00042.r2", "00042.r1", "123456.r1"]
        assert by_shard(names) == {
            "00007": ["00007.r1"],
            "00042": ["00042.r1", "00042.r2", "00042.r10"],
            "123456": ["123456.r1"],
        }

    def test_of_other_things_are_none(self):
        names = ["00042", "00042.r0", "00042.r01", "00042.r1.bak", "x.r1", "00042.rx", ".r1", ""]
        assert by_shard(names) == {}
        assert not any(map(is_repair, names))
