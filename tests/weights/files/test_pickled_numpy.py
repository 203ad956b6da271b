"""NumPy's arrays and scalars in pickles: places in the file, and plain numbers."""

import pickle

import numpy as np
import pytest

from sdbatch.weights.files.file_window import FileWindow
from sdbatch.weights.files.pickled_numpy import Array
from sdbatch.weights.files.pickles import read_pickle

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pkl"


def read(path, content: bytes):
    path.write_bytes(content)
    with FileWindow(path) as window:
        return read_pickle(window, 0, len(content))[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u1", "?"])
def test_scalars_are_numbers(path, dtype, protocol):
    value = np.dtype(dtype).type(1)
    assert read(path, pickle.dumps(value, protocol)) == 1
    high = np.iinfo(dtype).max if dtype[0] in "iu" else value
    assert read(path, pickle.dumps(np.dtype(dtype).type(high), protocol)) == high


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_places(path, protocol, order):
    value = np.asarray(np.arange(6, dtype=np.int16).reshape(2, 3), order=order)
    found = read(path, pickle.dumps(value, protocol))
    assert isinstance(found, Array)
    assert (found.shape, found.dtype.key()) == ((2, 3), "I16")
    assert bool(found.fortran) == (order == "F")
    content = path.read_bytes()[found.content.start : found.content.stop]
    assert content == value.tobytes(order)


def test_of_both_its_names(path):
    content = pickle.dumps(np.arange(3), 2)
    assert b"numpy.core.multiarray" in content
    renamed = content.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert read(path, renamed).shape == (3,)


def test_scalars_of_other_types_are_nothing_in_particular(path):
    assert read(path, pickle.dumps(np.str_("a"))).made
