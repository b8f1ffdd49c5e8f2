"""A pickle is a program; ours is read and nothing of it is executed."""

import pickle
import struct

import numpy as np
import pytest

from wcrnn_models.errors import UserError
from wcrnn_models.tasks.inert_pickle import read_inert_pickle

EXECUTED = []


def executed(*_):
    EXECUTED.append("a pickle was executed")
    return {}


class Bomb:
    def __reduce__(self):
        return (executed, ())


def test_plain_values_and_arrays_are_read(python2_batch):
    planes = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    values = read_inert_pickle(python2_batch(planes, [7, 0, 9]))
    assert set(values) == {b"data", b"labels"}
    assert values[b"labels"] == [7, 0, 9]
    assert values[b"data"].dtype == np.uint8
    assert np.array_equal(values[b"data"], planes)
    values[b"data"][:] = 0  # writeable
    plain = {"a": [1, 2.5, None, True, (3, "x")], 4: {}}
    for protocol in range(6):
        assert read_inert_pickle(pickle.dumps(plain, protocol)) == plain
    assert read_inert_pickle(pickle.dumps(b"bytes")) == b"bytes"


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_by_name_and_not_executed(protocol):
    for value in (Bomb(), {"data": Bomb()}, [Bomb()]):
        with pytest.raises(UserError, match=r"asks for .*executed, which is code and not data; nothing was executed"):
            read_inert_pickle(pickle.dumps(value, protocol))
    assert EXECUTED == []


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # REDUCE
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",  # STACK_GLOBAL
        b"cnumpy.core.multiarray\nfromstring\n.",
        b"cnumpy\nload\n.",
        b"cbuiltins\neval\n.",
        b"cnumpy\nndarray.tofile\n.",
    ],
    ids=["reduce", "inst", "obj", "stack global", "numpy function", "numpy load", "eval", "dotted"],
)
def test_every_way_to_name_code_is_refused(program):
    with pytest.raises(UserError, match="which is code and not data"):
        read_inert_pickle(program)


def array(shape: bytes, code: bytes, order: bytes, content: bytes) -> bytes:
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\nU\x02" + code + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + order + b"T" + struct.pack("<I", len(content)) + content + b"tb."
    )  # fmt: skip


def test_an_array_at_the_top():
    assert read_inert_pickle(array(b"K\x02K\x03\x86", b"u1", b"\x89", b"abcdef")).tolist() == [
        [97, 98, 99],
        [100, 101, 102],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (array(b"K\x06\x85", b"O8", b"\x89", b"abcdef"), "array of type b'O8'; only bytes"),
        (array(b"K\x06\x85", b"u1", b"\x88", b"abcdef"), "in Fortran order; only bytes are read"),
        (array(b"K\x07\x85", b"u1", b"\x89", b"abcdef"), r"shape \(7,\) with 6 bytes"),
        (array(b"N\x85", b"u1", b"\x89", b"abcdef"), "without shape, type and content"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "without shape, type and content"),
        (b"\x80\x02cnumpy\ndtype\n(d}b.", "not a valid pickle"),
        (b"", "not a valid pickle .EOFError"),
        (b"\x80\x02}(U\x04dat", "not a valid pickle"),
        (b"no pickle", "not a valid pickle"),
        (b"\x80\x02U\x01xQ.", "object b'x' outside of the file"),
    ],
    ids=[
        *("object array", "order", "length", "shape", "no state", "state of a class"),
        *("empty", "truncated", "text", "persistent"),
    ],
)
def test_what_is_not_plain_is_refused(content, message):
    with pytest.raises(UserError, match=message):
        read_inert_pickle(content)
