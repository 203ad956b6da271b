"""A dataset is opened by its folder alone."""

import json

import pytest

from sdbatch.dataset.existing import open_dataset, shard_names
from sdbatch.errors import UserError
from tests.dataset.making import a_plan, begin


def test_the_plan_is_the_one_that_it_was_begun_with(tmp_path):
    plan = a_plan(rows=10, shard_size=3, images=20)
    begin(tmp_path / "dataset", plan)
    store, found = open_dataset(tmp_path / "dataset")
    assert found == plan
    assert found.settings.fingerprint == plan.settings.fingerprint
    assert store.folder == tmp_path / "dataset"


def test_shards_are_named_in_plan_order():
    assert shard_names(a_plan(rows=10, shard_size=4)) == ["00000", "00001", "00002"]
    assert shard_names(a_plan(rows=100_002, shard_size=1))[99_999:] == ["99999", "100000", "100001"]


@pytest.mark.parametrize("where", ["empty", "nowhere"])
def test_a_folder_without_a_run_json_is_refused(tmp_path, where):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{where}: not a dataset: expected .* run.json"):
        open_dataset(tmp_path / where)


def test_so_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"run\.json: cannot be read"):
        open_dataset(tmp_path / "file")


class TestRunJson:
    @pytest.fixture
    def path(self, tmp_path):
        begin(tmp_path)
        return tmp_path / "run.json"

    def change(self, path, **settings):
        record = json.loads(path.read_text())
        for name, value in settings.items():
            if value is None:
                del record["settings"][name]
            else:
                record["settings"][name] = value
        path.write_text(json.dumps(record))

    @pytest.mark.parametrize("changes", [{"steps": None}, {"warp": 9}])
    def test_of_another_version_is_refused_with_the_settings_that_differ(self, path, changes):
        self.change(path, **changes)
        expected = f"run.json: made by another version of sdbatch: .* {next(iter(changes))}$"
        with pytest.raises(UserError, match=expected):
            open_dataset(path.parent)

    @pytest.mark.parametrize("key", ["rows", "images", "shard_size", "settings"])
    def test_that_lacks_something_is_refused(self, path, key):
        record = json.loads(path.read_text())
        del record[key]
        path.write_text(json.dumps(record))
        with pytest.raises(UserError, match=r"expected a run\.json of format 1"):
            open_dataset(path.parent)
