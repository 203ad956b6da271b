"""The digest of a table: its values in their order, and nothing of how they are stored."""

import datetime as dt
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sdbatch.prompts.digest import TableDigest
from tests.examples import many_columns

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
VALUES = {
    "prompt": texts,
    "seed": st.none() | st.integers(0, 127),
    # Adding 0.0 makes -0.0 positive: equal as numbers, though not as bytes.
    "score": st.none() | st.floats(allow_nan=False, width=16).map(lambda x: x + 0.0),
    "tags": st.none() | st.lists(texts),
    "mask": st.none() | st.binary(max_size=4),
    "picture": st.none()
    | st.fixed_dictionaries({"bytes": st.none() | st.binary(max_size=4), "path": texts}),
}
tables = st.integers(1, 12).flatmap(
    lambda rows: st.fixed_dictionaries(
        {name: st.lists(value, min_size=rows, max_size=rows) for name, value in VALUES.items()}
    )
)
SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("score", pa.float64()),
        ("tags", pa.list_(pa.string())),
        ("mask", pa.binary()),
        ("picture", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)


def digest(table: pa.Table, slices: int = 1000) -> str:
    total = TableDigest(table.schema)
    for batch in table.to_batches(max_chunksize=slices):
        total.update(batch)
    return total.hexdigest()


def digest_of_file(table: pa.Table, slices: int, **options) -> str:
    """The digest of the table as written to Parquet and read back in slices."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    stored = pq.ParquetFile(file)
    total = TableDigest(stored.schema_arrow)
    for batch in stored.iter_batches(batch_size=slices):
        total.update(batch)
    return total.hexdigest()


class TestStaysTheSame:
    @settings(deadline=None)
    @given(
        columns=tables,
        group=st.integers(1, 13),
        slices=st.integers(1, 13),
        compression=st.sampled_from(["none", "snappy", "zstd"]),
        dictionary=st.booleans(),
    )
    def test_however_the_file_is_cut_and_packed(
        self, columns, group, slices, compression, dictionary
    ):
        table = pa.table(columns, schema=SCHEMA)
        options = {
            "row_group_size": group,
            "compression": compression,
            "use_dictionary": dictionary,
        }
        assert digest_of_file(table, slices, **options) == digest(table)

    @given(tables)
    def test_in_wider_and_narrower_types(self, columns):
        table = pa.table(columns, schema=SCHEMA)
        for name, kind in [
            ("prompt", pa.large_string()),
            ("seed", pa.int8()),
            ("seed", pa.uint32()),
            ("score", pa.float32()),
            ("mask", pa.large_binary()),
        ]:
            other = table.schema.set(table.schema.get_field_index(name), pa.field(name, kind))
            assert digest(table.cast(other)) == digest(table)

    def test_for_text_kept_as_a_category(self):
        plain = pa.array(["red", "blue", None, "red"])
        packed = pa.table({"colour": plain.dictionary_encode()})
        assert digest(packed) == digest(pa.table({"colour": plain}))

    def test_for_bytes_of_a_fixed_size(self):
        plain = pa.array([b"ab", None, b"cd"])
        fixed = pa.table({"key": plain.cast(pa.binary(2))})
        assert digest(fixed) == digest(pa.table({"key": plain}))

    @given(st.permutations(SCHEMA.names))
    def test_in_another_order_of_columns(self, names):
        cell = {"bytes": b"x", "path": None}
        table = pa.table([["a"], [1], [0.5], [["x"]], [b"m"], [cell]], schema=SCHEMA)
        assert digest(table.select(names)) == digest(table)

    def test_in_another_order_of_fields_with_bytes(self):
        one, other = pa.array([b"x", None]), pa.array(["a.png", None])
        fields = [("bytes", one), ("path", other)]
        structs = [
            pa.StructArray.from_arrays([values for _, values in order], [name for name, _ in order])
            for order in (fields, fields[::-1])
        ]
        assert digest(pa.table({"x": structs[0]})) == digest(pa.table({"x": structs[1]}))

    def test_under_other_schema_metadata(self):
        table = pa.table({"prompt": ["a"]})
        assert digest(table.replace_schema_metadata({"pandas": "{}"})) == digest(table)

    def test_for_ever(self):
        table = pa.table(
            {"prompt": ["a red star", "红色的星", None], "seed": [1, None, 3], "s": [0.5, None, 2]}
        )
        assert digest(table) == "6413edc6568fed7d22cd84e4d11790782a594279a7689630a4ba266b92906875"

    def test_for_ever_in_columns_of_every_other_type(self):
        """Bytes apart, on their own or in a struct, as before they were digested as bytes."""
        table = many_columns().drop_columns(["binary", "fixed_binary"])
        assert digest(table) == "072d8c623308315406e8de9544c30eeef50dbf5596f92ab02acbe8b712aa7756"


class TestChanges:
    @given(tables, st.data())
    def test_with_any_value(self, columns, data):
        name = data.draw(st.sampled_from(SCHEMA.names))
        row = data.draw(st.integers(0, len(columns[name]) - 1))
        value = data.draw(VALUES[name])
        assume(value != columns[name][row])
        changed = {**columns, name: [*columns[name][:row], value, *columns[name][row + 1 :]]}
        one, other = pa.table(columns, schema=SCHEMA), pa.table(changed, schema=SCHEMA)
        assert digest(one) != digest(other)

    @given(tables, st.randoms())
    def test_with_the_order_of_rows(self, columns, random):
        table = pa.table(columns, schema=SCHEMA)
        order = list(range(table.num_rows))
        random.shuffle(order)
        shuffled = table.take(order)
        assert (digest(shuffled) == digest(table)) == shuffled.equals(table)

    @given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
    def test_wherever_two_columns_of_text_differ(self, one, other):
        """Also where the joined text is the same, as with `ab, c` and `a, bc`."""
        one_table, other_table = (pa.table({"p": pa.array(t, pa.string())}) for t in (one, other))
        assert (digest(one_table) == digest(other_table)) == (one == other)

    @given(st.lists(VALUES["mask"], max_size=5), st.lists(VALUES["mask"], max_size=5))
    def test_wherever_two_columns_of_bytes_differ(self, one, other):
        one_table, other_table = (pa.table({"m": pa.array(b, pa.binary())}) for b in (one, other))
        assert (digest(one_table) == digest(other_table)) == (one == other)

    @pytest.mark.parametrize(
        ("kind", "empty"),
        [
            (pa.string(), ""),
            (pa.int64(), 0),
            (pa.float64(), 0.0),
            (pa.list_(pa.string()), []),
            (pa.binary(), b""),
            (SCHEMA.field("picture").type, {"bytes": None, "path": None}),
        ],
        ids=str,
    )
    def test_between_null_and_empty(self, kind, empty):
        assert digest(pa.table({"x": pa.array([None], kind)})) != digest(
            pa.table({"x": pa.array([empty], kind)})
        )

    def test_with_a_columns_name(self):
        assert digest(pa.table({"prompt": ["a"]})) != digest(pa.table({"id": ["a"]}))

    def test_when_two_columns_swap_their_values(self):
        one = pa.table({"prompt": ["a"], "negative_prompt": ["b"]})
        other = pa.table({"prompt": ["b"], "negative_prompt": ["a"]})
        assert digest(one) != digest(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([1], ["1"]),
            ([1], [1.0]),
            ([True], [1]),
            ([True], ["true"]),
            ([b"a"], ["a"]),
            ([b"a"], ["b'a'"]),
        ],
    )
    def test_between_kinds_of_values(self, one, other):
        assert digest(pa.table({"x": one})) != digest(pa.table({"x": other}))

    @pytest.mark.parametrize("name", sorted({*many_columns().schema.names} - {"nothing"}))
    def test_in_columns_of_every_type(self, name):
        column = many_columns().select([name])
        assert digest(column) != digest(column.take([1, 0]))

    def test_between_nested_dates(self):
        one, other = ([[dt.date(2026, 1, day)]] for day in (1, 2))
        assert digest(pa.table({"x": one})) != digest(pa.table({"x": other}))
