import io
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedirl_ray.errors import DataError
from fedirl_ray.problem import npz
from fedirl_ray.problem.npz import MOST_BYTES, read_arrays


def header(shape, kind="<i8", order=False):
    text = io.BytesIO()
    said = {"descr": kind, "fortran_order": order, "shape": shape}
    np.lib.format.write_array_header_1_0(text, said)
    return text.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@given(
    arrays.arrays(
        st.sampled_from(["<i8", ">i4", "|b1", "<f4", "<f8", "<U3"]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.booleans(),
    st.sampled_from([np.savez, np.savez_compressed]),
)
def test_what_numpy_writes_is_read_as_numpy_reads_it(array, fortran, save):
    written = np.asfortranarray(array) if fortran else array
    file = io.BytesIO()
    save(file, one=written, other=np.arange(3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "whole.npz")
        path.write_bytes(file.getvalue())
        found = read_arrays(path, ("one",), "a file")
        with np.load(path) as wanted:
            np.testing.assert_array_equal(found["one"], wanted["one"])
            assert found["one"].dtype == wanted["one"].dtype
    assert list(found) == ["one"]


def raw(text):
    """A member whose header is the given text."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


BROKEN = {
    "says more than it holds": (header((10**12,)) + bytes(80), "should have 8000000000000"),
    "says less than it holds": (header((2,)) + bytes(80), "of 80 bytes should have 16"),
    "no npy": (b"not npy", "no header of an array"),
    "empty": (b"", "no header of an array"),
    "cut header": (header((2,))[:20], "no header of an array"),
    "no dictionary": (raw(b"{'descr':'<i8','fortran_order':False,'shape':(\n"), "no header"),
    "deeply nested": (raw(b"(" * 60_000 + b"\n"), "no header of an array"),
    "future version": (b"\x93NUMPY\x09\x00" + bytes(100), "no header of an array"),
    "objects": (header((1,), "|O") + bytes(8), "holds object, no plain numbers"),
    "records": (header((1,), [("a", "<i8")]) + bytes(8), "no plain numbers"),
    "negative": (header((-1, -8)) + bytes(64), "has shape (-1, -8)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_member_that_is_no_plain_array_is_refused_in_one_line(name, tmp_path):
    content, said = BROKEN[name]
    path = archive(tmp_path / "x.npz", one=content)
    with pytest.raises(DataError) as error:
        read_arrays(path, ("one",), "a file")
    assert str(error.value).startswith("a file must be a readable .npz of plain arrays, got: one ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MOST_BYTES", 2**24)
    rows = 2**24 // 8 // 2
    inside, beyond = ((header((rows + n,)) + bytes(8 * (rows + n))) for n in (0, 1))
    path = archive(tmp_path / "bomb.npz", a=beyond, b=inside)
    assert path.stat().st_size < 2**24 // 100
    tracemalloc.start()
    with pytest.raises(DataError, match=r"16,777,224 bytes unpacked, more than 16,777,216$"):
        read_arrays(path, ("a", "b"), "a file")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    full = archive(tmp_path / "full.npz", a=inside, b=inside)
    assert read_arrays(full, ("a", "b"), "a file")["b"].shape == (rows,)
    assert MOST_BYTES == 2**30


def test_an_archive_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MOST_MEMBERS", 2)
    two = archive(tmp_path / "two.npz", a=header((0,)), b=header((0,)))
    assert list(read_arrays(two, ("a",), "a file")) == ["a"]
    three = archive(tmp_path / "three.npz", a=header((0,)), b=b"", c=b"")
    with pytest.raises(DataError, match=r"got: 3 arrays, more than 2$"):
        read_arrays(three, ("a",), "a file")


def test_arrays_that_are_missing_are_all_named(tmp_path):
    path = archive(tmp_path / "x.npz", one=header((0,)), three=header((0,)))
    with pytest.raises(DataError, match=r"^a file must hold one, two, four; missing two, four$"):
        read_arrays(path, ("one", "two", "four"), "a file")


def test_what_is_no_file_is_refused(tmp_path):
    for path, said in ((tmp_path / "nosuch.npz", "no such file"), (tmp_path, "no file")):
        with pytest.raises(DataError, match=f"got: {said}$"):
            read_arrays(path, ("one",), "a file")


def test_an_array_that_was_damaged_later_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, one=np.arange(100))
    whole = bytearray(path.read_bytes())
    whole[400] ^= 255
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"a file must be a readable \.npz of plain arrays, got: "):
        read_arrays(path, ("one",), "a file")
