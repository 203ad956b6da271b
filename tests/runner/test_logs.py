"""A run's log folder: what was asked, what happened, one folder per run."""

import logging

import pytest
from omegaconf import OmegaConf

from sdbatch.runner.logs import start_logging

COMPOSED = OmegaConf.create(
    {"steps": 20, "negative_prompt": "模糊", "prompts": {"path": "新闻.parquet"}}
)
OVERRIDES = ["steps=20", "negative_prompt='模糊, \"低质量\"'"]


@pytest.fixture(autouse=True)
def log():
    """The package's logger, as it was before once the test is over."""
    log = logging.getLogger("sdbatch")
    before = (log.handlers[:], log.level, log.propagate)
    raising = logging.raiseExceptions
    yield log
    logging.raiseExceptions = raising
    for handler in log.handlers:
        handler.close()
    log.handlers[:], log.level, log.propagate = before


def test_each_run_has_a_folder_of_its_own(tmp_path):
    folders = [start_logging(tmp_path, COMPOSED, OVERRIDES) for _ in range(3)]
    assert len(set(folders)) == 3
    assert sorted((tmp_path / "logs").iterdir()) == sorted(folders)


def test_it_keeps_the_composed_config_and_the_command_line(tmp_path):
    record = start_logging(tmp_path, COMPOSED, OVERRIDES) / ".hydra"
    assert OmegaConf.load(record / "config.yaml") == COMPOSED
    assert OmegaConf.load(record / "overrides.yaml") == OVERRIDES


def test_chinese_stays_legible(tmp_path):
    record = start_logging(tmp_path, COMPOSED, OVERRIDES) / ".hydra"
    assert "新闻.parquet" in (record / "config.yaml").read_text(encoding="utf-8")
    assert "低质量" in (record / "overrides.yaml").read_text(encoding="utf-8")


def test_a_run_without_overrides_keeps_an_empty_list(tmp_path):
    record = start_logging(tmp_path, COMPOSED, []) / ".hydra"
    assert OmegaConf.load(record / "overrides.yaml") == []


def test_lines_go_to_the_file_with_their_time_and_to_stderr_without(tmp_path, capsys, log):
    folder = start_logging(tmp_path, COMPOSED, OVERRIDES)
    log.info("64 prompts, %d images", 64)
    log.warning("太慢")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "sdbatch: 64 prompts, 64 images\nsdbatch: 太慢\n"
    kept = (folder / "sdbatch.log").read_text(encoding="utf-8").splitlines()
    assert kept[0].endswith(" INFO 64 prompts, 64 images")
    assert kept[1].endswith(" WARNING 太慢")
    assert kept[0].startswith("20")


def test_what_only_a_search_for_a_fault_needs_goes_to_the_file_alone(tmp_path, capsys, log):
    folder = start_logging(tmp_path, COMPOSED, OVERRIDES)
    log.debug("worker %d: ready", 0)
    log.info("hello")
    assert capsys.readouterr().err == "sdbatch: hello\n"
    kept = (folder / "sdbatch.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in kept] == ["DEBUG worker 0: ready", "INFO hello"]


def test_a_full_disk_costs_log_lines_not_the_run(tmp_path, capsys, log):
    folder = start_logging(tmp_path, COMPOSED, OVERRIDES)
    (file,) = (handler for handler in log.handlers if hasattr(handler, "baseFilename"))
    file.close()
    (folder / "sdbatch.log").unlink()
    (folder / "sdbatch.log").symlink_to("/dev/full")
    log.info("hello")  # opens it again
    assert file.stream.name == str(folder / "sdbatch.log")
    file.stream = None  # closing it would fail as well
    assert capsys.readouterr().err == "sdbatch: hello\n"


def test_a_second_run_of_one_process_does_not_write_into_the_first(tmp_path, capsys, log):
    first = start_logging(tmp_path, COMPOSED, OVERRIDES)
    second = start_logging(tmp_path, COMPOSED, OVERRIDES)
    log.info("hello")
    assert capsys.readouterr().err == "sdbatch: hello\n"
    assert (first / "sdbatch.log").read_text() == ""
    assert "hello" in (second / "sdbatch.log").read_text()
