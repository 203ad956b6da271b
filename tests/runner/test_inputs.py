"""Pictures that requests name: read ahead of the device, bounded, each fault its own request's."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdbatch.inputs import BadImage, ImageLimits, ImageRef
from sdbatch.request import ImageInputs
from sdbatch.runner.inputs import NOT_LOADED, InputsAhead, LoadedInputs, load_inputs
from tests.examples import a_request
from tests.runner.painter import images


@pytest.fixture
def picture(tmp_path) -> Path:
    """A red picture, twice as large as the request wants it."""
    path = tmp_path / "red.png"
    Image.new("RGB", (192, 128), (255, 0, 0)).save(path)
    return path


class TestLoading:
    def test_a_request_that_names_none_reads_nothing(self):
        assert load_inputs(a_request(), Path("/nowhere"), ImageLimits()) is NOT_LOADED

    def test_pixels_have_the_size_of_the_request(self, picture):
        request = a_request(init_image=ImageRef("red.png"))
        found = load_inputs(request, picture.parent, ImageLimits())
        assert found.pixels.init.shape == (3, 64, 96)
        assert np.array_equal(np.unique(found.pixels.init[0]), [1.0])
        assert found.pixels.mask is None
        assert found.init_sha256 == hashlib.sha256(picture.read_bytes()).hexdigest()
        assert found.mask_sha256 is None

    def test_a_mask_comes_with_it(self, picture, tmp_path):
        Image.new("L", (96, 64), 255).save(tmp_path / "mask.png")
        request = a_request(init_image=ImageRef("red.png"), mask=ImageRef("mask.png"))
        found = load_inputs(request, tmp_path, ImageLimits())
        assert found.pixels.mask.shape == (1, 64, 96)
        assert found.mask_sha256 == hashlib.sha256((tmp_path / "mask.png").read_bytes()).hexdigest()

    @pytest.mark.parametrize("limits", [ImageLimits(max_bytes=10), ImageLimits(max_pixels=100)])
    def test_limits_hold(self, picture, limits):
        request = a_request(init_image=ImageRef("red.png"))
        with pytest.raises(BadImage, match=r"^red\.png: "):
            load_inputs(request, picture.parent, limits)


def named(count: int):
    """Planned images that name pictures, each its own."""
    return [images("a", id=str(n), init_image=f"{n}.png")[0] for n in range(count)]


def of(request) -> LoadedInputs:
    """Stands in for reading: tells which file was read."""
    return LoadedInputs(ImageInputs(), init_sha256=request.init_image.path)


class TestAhead:
    @given(asked=st.lists(st.integers(0, 5), max_size=20), ahead=st.integers(1, 4))
    def test_every_request_gets_its_own_pictures_in_any_order_and_again(self, asked, ahead):
        planned = named(6)
        inputs = InputsAhead(planned, of, ahead)
        for number in asked:
            assert inputs.get(planned[number]).init_sha256 == f"{number}.png"
        inputs.close()

    @given(count=st.integers(1, 20), ahead=st.integers(1, 4))
    def test_each_is_read_once_and_no_more_than_asked_are_held(self, count, ahead):
        planned, begun, asked = named(count), [], []

        def load(request):
            begun.append(request.init_image.path)
            assert len(begun) <= len(asked) + ahead
            return of(request)

        inputs = InputsAhead(planned, load, ahead)
        for image in planned:
            asked.append(image)
            inputs.get(image)
        inputs.close()
        assert begun == [f"{n}.png" for n in range(count)]

    def test_it_reads_while_nobody_asks(self):
        read = threading.Semaphore(0)

        def load(request):
            read.release()
            return of(request)

        planned = named(5)
        inputs = InputsAhead(planned, load, ahead=2)
        assert read.acquire(timeout=60) and read.acquire(timeout=60)
        inputs.get(planned[0])
        assert read.acquire(timeout=60)  # the third, for which nobody asked
        inputs.close()

    def test_what_cannot_be_read_fails_for_its_own_request(self):
        def load(request):
            if request.init_image.path == "1.png":
                raise BadImage("1.png: expected a picture")
            return of(request)

        planned = named(3)
        inputs = InputsAhead(planned, load, ahead=3)
        assert inputs.get(planned[0]).init_sha256 == "0.png"
        for _ in range(2):  # asked again, read again
            with pytest.raises(BadImage, match=r"^1\.png: "):
                inputs.get(planned[1])
        assert inputs.get(planned[2]).init_sha256 == "2.png"
        inputs.close()

    def test_requests_that_name_none_are_not_asked_for(self):
        def load(request):
            raise AssertionError("nothing to read")

        planned = images("a", "b")
        inputs = InputsAhead(planned, load, ahead=2)
        assert [inputs.get(image) for image in planned] == [NOT_LOADED, NOT_LOADED]
        inputs.close()

    def test_once_closed_it_reads_no_more(self):
        begun, readers = [], []
        first, go_on = threading.Event(), threading.Event()

        def load(request):
            begun.append(request.init_image.path)
            readers.append(threading.current_thread())
            first.set()
            assert go_on.wait(60)
            return of(request)

        planned = named(6)
        inputs = InputsAhead(planned, load, ahead=4)
        assert first.wait(60)
        with ThreadPoolExecutor(1) as other:
            other.submit(inputs.close).result(60)  # waits for nothing
        go_on.set()
        readers[0].join(60)
        assert begun == ["0.png"]
        for number in (0, 5):  # unless it is asked
            assert inputs.get(planned[number]).init_sha256 == f"{number}.png"
        assert begun == ["0.png", "5.png"]
