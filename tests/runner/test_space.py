"""Whether images fit: on real small file systems, and by numbers."""

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdbatch.runner.space import FreeSpace, free_space, shortage, size_text

AMPLE = FreeSpace(10**15, 10**12)
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class TestFreeSpace:
    def test_is_what_can_be_written(self, disk):
        folder = disk("size=4m,nr_inodes=64")
        free = free_space(folder)
        assert free.bytes == 4 * 2**20
        with (folder / "file").open("wb", buffering=0) as file:
            assert file.write(bytes(free.bytes)) == free.bytes
            with pytest.raises(OSError) as caught:
                file.write(b"one more")
        assert caught.value.errno == errno.ENOSPC
        assert free_space(folder).bytes == 0

    def test_and_how_many_files_can_be_made(self, disk):
        folder = disk("size=4m,nr_inodes=64")
        free = free_space(folder)
        for i in range(free.inodes):
            (folder / str(i)).touch()
        with pytest.raises(OSError) as caught:
            (folder / "one more").touch()
        assert caught.value.errno == errno.ENOSPC
        assert free_space(folder).inodes == 0

    def test_a_file_system_without_limits_does_not_say(self, disk):
        free = free_space(disk("size=0,nr_inodes=0"))
        assert free == FreeSpace(None, None)

    def test_of_a_folder_that_is_not_there_yet_is_that_of_its_place(self, disk):
        folder = disk("size=4m,nr_inodes=64")
        assert free_space(folder / "outputs" / "night") == free_space(folder)
        assert not (folder / "outputs").exists()

    def test_a_relative_folder_begins_in_the_working_folder(self, disk, monkeypatch, tmp_path):
        disk("size=4m,nr_inodes=64")
        monkeypatch.chdir(tmp_path)
        assert free_space(Path("disk/new")).bytes == 4 * 2**20

    def test_agrees_with_the_system(self, tmp_path):
        status = os.statvfs(tmp_path)
        if not status.f_blocks:
            pytest.skip("the temporary folder's file system does not say")
        total = status.f_blocks * status.f_frsize
        assert 0 <= free_space(tmp_path).bytes <= total


class TestShortage:
    def test_of_bytes_is_told_in_one_line(self):
        assert shortage(FreeSpace(93 * 10**9, None), 1_000_000, 406e3) == (
            "1,000,000 images of about 406 kB need 414 GB with a reserve of 2 %, 93 GB are free"
        )

    def test_so_is_one_of_files(self):
        assert shortage(FreeSpace(10**15, 12_000), 1_000_000, 406e3) == (
            "1,000,000 images need about 1,020,000 files with a reserve of 2 %, 12,000 can be made"
        )

    def test_there_is_none_where_all_fits(self):
        assert shortage(AMPLE, 1_000_000, 406e3) is None

    @pytest.mark.parametrize("images", [0, 10**9])
    def test_nor_where_the_file_system_does_not_say(self, images):
        assert shortage(FreeSpace(None, None), images, 1e6) is None

    def test_nothing_left_to_do_fits_on_a_full_disk(self):
        assert shortage(FreeSpace(0, 0), 0, 406e3) is None

    @pytest.mark.parametrize(("free", "fits"), [(102_000, True), (101_999, False)])
    def test_two_in_a_hundred_stay_free(self, free, fits):
        assert (shortage(FreeSpace(free, None), 100, 1000) is None) == fits

    @pytest.mark.parametrize(("free", "fits"), [(1020, True), (1019, False)])
    def test_and_as_many_files(self, free, fits):
        assert (shortage(FreeSpace(None, free), 1000, 0) is None) == fits

    @given(st.integers(0, 10**15), st.integers(0, 10**9), st.integers(1, 10**7), st.floats(1, 1e7))
    def test_is_never_worse_with_more_room_or_fewer_images(self, free, inodes, images, size):
        if shortage(FreeSpace(free, inodes), images, size) is None:
            assert shortage(FreeSpace(free + 1, inodes + 1), images, size) is None
            assert shortage(FreeSpace(free, inodes), images - 1, size) is None


class TestSizes:
    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 B"),
            (7, "7 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9949, "9.9 kB"),
            (9951, "10 kB"),
            (405_600, "406 kB"),
            (999_499, "999 kB"),
            (999_501, "1.0 MB"),
            (93e9, "93 GB"),
            (4.2e12, "4.2 TB"),
            (5e15, "5,000 TB"),
        ],
    )
    def test_have_two_or_three_digits_and_a_decimal_unit(self, size, text):
        assert size_text(size) == text

    @given(st.floats(10, 1e18))
    @example(999.5e6)
    def test_are_right_within_a_twentieth(self, size):
        number, unit = re.fullmatch(r"([0-9.,]+) ([kMGT]?B)", size_text(size)).groups()
        assert abs(float(number.replace(",", "")) * UNITS[unit] / size - 1) <= 0.051
