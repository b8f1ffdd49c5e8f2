"""What files can hold, and the words for what they cannot."""

import datetime
import enum
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import lyapkit
import sample_results
from lyapkit.results.attributes import DECODED, RESERVED

RESULTS = {"Dataset": sample_results.annihilating(), "DataTree": sample_results.tree()}


def annihilating() -> xr.Dataset:
    return RESULTS["Dataset"].copy(deep=True)


def tree() -> xr.DataTree:
    return RESULTS["DataTree"].copy(deep=True)


Colour = enum.Enum("Colour", "red")

REFUSED = {
    "True": (True, "is True (bool)", "write int(value)"),
    "NumPy's True": (np.True_, "(bool", "write int(value)"),
    "None": (None, "is None (NoneType)", "leave it out"),
    "a dictionary": ({"lr": 0.1}, "is {'lr': 0.1} (dict)", "write json.dumps(value)"),
    "a path": (Path("run"), "(PosixPath)", "write str(path)"),
    "a set": ({1}, "is {1} (set)", "write sorted(value)"),
    "a time": (datetime.datetime(2026, 1, 2), "(datetime)", "write value.isoformat()"),
    "a day": (datetime.date(2026, 1, 2), "(date)", "write value.isoformat()"),
    "a duration": (datetime.timedelta(1), "(timedelta)", "write value.total_seconds()"),
    "NumPy's time": (np.datetime64("2026"), "(datetime64)", "write str(value)"),
    "a tensor": (torch.ones(2), "is tensor([1., 1.]) (Tensor)", "write value.tolist()"),
    "a number as a tensor": (torch.tensor(1.0, requires_grad=True), "(Tensor)", "write value.tolist()"),
    "a device": (torch.device("cpu"), "(device)", "write str(value)"),
    "a type": (torch.float32, "is torch.float32 (dtype)", "write str(value)"),
    "a function": (math.exp, "(builtin_function_or_method)", "write str(value)"),
    "a choice": (Colour.red, "(Colour)", "write its .name"),
    "a fraction": (Fraction(1, 2), "(Fraction)", "write float(value)"),
    "a huge number": (2**70, "(int)", "write float(value)"),
    "an array of results": (xr.DataArray([1.0]), "(DataArray)", "make it a variable"),
    "truth values": ([True, False], "(list)", "write [int(part) for part in value]"),
    "a truth value among numbers": ([1, True], "(list)", "write [int(part) for part in value]"),
    "an array of truth values": (np.array([True]), "(ndarray)", "write value.astype(int)"),
    "a mixture": ([1, "a"], "(list)", "write [str(part) for part in value]"),
    "nothing in a list": ([None], "(list)", "write [str(part) for part in value]"),
    "rows of unequal length": ([[1], [1, 2]], "(list)", "json.dumps(value)"),
    "an array of objects": (np.array([None]), "(ndarray)", "write [str(part)"),
    "a null character": ("a\0b", "(str)", "take the null characters out"),
    "a long value": ({"a": "b" * 500}, "... (dict)", "json.dumps"),
    "bytes": (b"a", "is b'a' (bytes)", "write value.decode()"),
    "masked numbers": (np.ma.array([1, 2], mask=[0, 1]), "(MaskedArray)", "write value.filled(...)"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", ["result", "variable", "coordinate", "node", "variable of a node", "root"])
def test_attributes_that_netcdf_cannot_hold_are_named(tmp_path, name: str, where: str) -> None:
    value, described, remedy = REFUSED[name]
    result = xr.DataTree.from_dict({"before/spectrum": annihilating()}) if "node" in where else annihilating()
    if where == "root":
        result = xr.DataTree.from_dict({"spectrum": annihilating()})
    place = {
        "result": (lambda: result.attrs, ""),
        "root": (lambda: result.attrs, ""),
        "variable": (lambda: result["lyapunov_exponent"].attrs, " of the variable 'lyapunov_exponent'"),
        "coordinate": (lambda: result["unit"].attrs, " of the variable 'unit'"),
        "node": (lambda: result["before/spectrum"].attrs, " of the node '/before/spectrum'"),
        "variable of a node": (
            lambda: result["before/spectrum"]["step"].attrs,
            " of the variable 'step' of the node '/before/spectrum'",
        ),
    }
    attributes, words = place[where]
    attributes()["note"] = value
    with pytest.raises(TypeError) as caught:
        lyapkit.save(result, tmp_path / "x.nc")
    message = str(caught.value)
    assert message.startswith(f"the attribute 'note'{words}")
    assert described in message
    assert remedy in message
    assert len(message) < 300
    assert list(tmp_path.iterdir()) == []


HELD = {
    "a number": (3, 3),
    "a text": ("λ", "λ"),
    "nothing": ("", ""),
    "a text of NumPy": (np.str_("a"), "a"),
    "a version": (torch.__version__, str(torch.__version__)),
    "numbers": ([1, 2], [1, 2]),
    "rows": ([[1.5, 2], [3, 4]], [[1.5, 2], [3, 4]]),
    "texts": (["a", "b"], ["a", "b"]),
    "a tuple of texts": (("a", "b"), ["a", "b"]),
    "an array of texts": (np.array(["a", "bc"]), ["a", "bc"]),
    "a size": (torch.Size([2, 3]), [2, 3]),
    "a list of one": ([3], [3]),
    "a tuple of one": ((2.5,), [2.5]),
    "an array of one": (np.array([2j]), [2j]),
    "a list of one text": (["a"], ["a"]),
    "an array of one text": (np.array(["ab"]), ["ab"]),
    "a single row": (np.array([[1, 2]]), [[1, 2]]),
    "a single row of a list": ([[1.5, 2.0]], [[1.5, 2.0]]),
    "a single entry in two dims": ([[7]], [[7]]),
    "a number in an array without dims": (np.array(3), 3),
    "no numbers": ([], []),
    "a complex number": (2j, 2j),
    "single precision": (np.float32(0.1), np.float32(0.1)),
    "a large number": (2**63, 2**63),
}


@pytest.mark.parametrize("name", HELD)
def test_attributes_that_netcdf_holds_come_back(tmp_path, name: str) -> None:
    value, expected = HELD[name]
    result = annihilating().assign_attrs(note=value)
    result["unit"].attrs["note"] = result["lyapunov_exponent"].attrs["note"] = value
    before = result.copy(deep=True)
    loaded = lyapkit.load(lyapkit.save(result, tmp_path / "x.nc"))
    for part in (loaded, loaded["unit"], loaded["lyapunov_exponent"]):
        assert np.asarray(part.attrs["note"]).tolist() == expected
    assert type(result.attrs["note"]) is type(before.attrs["note"])  # the result itself is left alone
    assert type(result["unit"].attrs["note"]) is type(value)
    again = lyapkit.load(lyapkit.save(loaded, tmp_path / "y.nc"))
    assert again.identical(loaded)
    assert loaded.attrs.keys() == result.attrs.keys()


@pytest.mark.parametrize("value", [[3], ["a"], [[1, 2]]])
def test_lists_of_one_come_back_from_every_node(tmp_path, value: list) -> None:
    result = xr.DataTree.from_dict({"before/spectrum": annihilating(), "after": annihilating()})
    for place in (result, result["before"], result["before/spectrum"], result["after"]["step"]):
        place.attrs["note"] = value
    loaded = lyapkit.load(lyapkit.save(result, tmp_path / "x.nc"))
    for place in (loaded, loaded["before"], loaded["before/spectrum"], loaded["after"]["step"]):
        assert np.asarray(place.attrs["note"]).tolist() == value
    assert "note" not in loaded["after"].attrs


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda ds: ds.assign_attrs({3: "a"}), ValueError, "the name of the attribute 3 must be a text"),
        (lambda ds: ds.assign_attrs({"": "a"}), ValueError, "the name of the attribute '' must be a text, not empty"),
        (lambda ds: ds.assign_attrs({"a\0": "a"}), ValueError, "the name of the attribute .* without null characters"),
        (lambda ds: ds.rename({"step": "a\0"}), ValueError, "the name of the variable .* without .*null characters"),
        (
            lambda ds: ds.rename(lyapunov_exponent="a/b"),
            ValueError,
            "the name of the variable 'a/b' must be .* without slashes",
        ),
        (
            lambda ds: ds.assign_coords(seed=Path("a")),
            TypeError,
            r"the variable 'seed' holds PosixPath.* write str\(path",
        ),
        (lambda ds: ds.assign_coords(seed=None), TypeError, "the variable 'seed' holds None"),
        (
            lambda ds: ds.stack(pair=("trajectory", "exponent")),
            TypeError,
            r"the variable 'pair' holds \(0, 1\).* split it with \.reset_index\('pair'\)",
        ),
    ],
    ids=["a number", "empty", "null", "null in a variable", "slash", "a path", "None", "pairs"],
)
def test_names_and_variables_that_netcdf_cannot_hold_are_named(tmp_path, change, error, message: str) -> None:
    with pytest.raises(error, match=message):
        lyapkit.save(change(annihilating()), tmp_path / "x.nc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(RESERVED))
@pytest.mark.parametrize("part", [None, "unit", "lyapunov_exponent"])
def test_names_that_files_use_themselves_are_refused(tmp_path, name: str, part: str | None) -> None:
    result = annihilating()
    (result if part is None else result[part]).attrs[name] = "a"
    with pytest.raises(ValueError, match=f"the name of the attribute '{name}'.* is one that netCDF uses itself"):
        lyapkit.save(result, tmp_path / "x.nc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [*((name, 2.0) for name in sorted(DECODED)), ("units", "days since 2000-01-01")],
)
@pytest.mark.parametrize("part", ["step", "lyapunov_exponent"])
def test_attributes_by_which_readers_change_numbers_are_refused(tmp_path, name: str, value, part: str) -> None:
    result = annihilating()
    result[part].attrs[name] = value
    with pytest.raises(ValueError, match=rf"the attribute '{name}' of the variable '{part}' is one by which readers"):
        lyapkit.save(result, tmp_path / "x.nc")
    assert list(tmp_path.iterdir()) == []


def test_units_of_time_and_encodings_change_no_numbers(tmp_path) -> None:
    result = annihilating()
    result["step"].attrs["units"] = "seconds"
    result["lyapunov_exponent"].encoding = {"dtype": "int16", "scale_factor": 0.1}
    result["step"].encoding = {"dtype": "int8"}
    assert lyapkit.load(lyapkit.save(result, tmp_path / "x.nc")).identical(result)
    assert result["step"].encoding == {"dtype": "int8"}  # the result itself is left alone


@pytest.mark.parametrize("kind", ["Dataset", "DataTree"])
@pytest.mark.parametrize("compressed", [{"zlib": True, "complevel": 9}, {"compression": "lzf", "shuffle": True}])
def test_compression_is_kept_and_packing_is_not(tmp_path, kind: str, compressed: dict) -> None:
    plain = annihilating()
    result = plain.isel(step=np.zeros(50_000, dtype=int))  # compressible: the same step again and again
    result["step"] = np.arange(50_000)
    named = {"lyapunov_exponent": {"scale_factor": 0.1, "dtype": "int16"}, "local_growth": {"chunksizes": (3, 7, 1)}}
    for name in ("local_growth", "running_exponent", "lyapunov_exponent"):
        result[name].encoding = compressed | named.get(name, {})
    whole = result if kind == "Dataset" else xr.DataTree.from_dict({"spectrum": result})
    loaded = lyapkit.load(lyapkit.save(whole, tmp_path / "x.nc"))
    again = lyapkit.load(lyapkit.save(loaded, tmp_path / "y.nc"))
    for found in (loaded, again):
        ds = found if kind == "Dataset" else found["spectrum"].to_dataset()
        assert ds.identical(result)
        for name in ("local_growth", "running_exponent", "lyapunov_exponent"):
            encoding = ds[name].encoding
            assert {key: encoding[key] for key in compressed} == compressed
            assert encoding["fletcher32"] is True
    size = lyapkit.save(result.drop_encoding(), tmp_path / "plain.nc").stat().st_size
    assert (tmp_path / "y.nc").stat().st_size < 0.5 * size


def test_the_remedy_for_pairs_works(tmp_path) -> None:
    pairs = annihilating().stack(pair=("trajectory", "exponent")).reset_index("pair")
    loaded = lyapkit.load(lyapkit.save(pairs, tmp_path / "x.nc"))
    assert loaded["lyapunov_exponent"].values.tolist() == pairs["lyapunov_exponent"].values.tolist()


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("x.csv", "x.nc"), ("x.h5", "x.nc"), ("x.nc4", "x.nc"), ("x", "x.nc"), ("run_0.5", "run_0.5.nc"),
        ("x.nc.gz", "x.nc"), ("x.CSV", "x.nc"), ("x.zarr", "x.nc"), (".nc", "result.nc"), ("x.nc ", "x.nc"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [annihilating, tree])
def test_only_names_that_end_in_nc_are_written(tmp_path, name: str, better: str, make) -> None:
    with pytest.raises(ValueError, match=r"names that end in \.nc") as caught:
        lyapkit.save(make(), tmp_path / name)
    assert f'got "{name}"; write "{better}"' in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert lyapkit.save(annihilating(), tmp_path / "x.NC").is_file()


@pytest.mark.parametrize("make", [annihilating, tree])
def test_the_recipe_for_a_table_works(tmp_path, monkeypatch, make) -> None:
    result = make()
    with pytest.raises(ValueError, match="For a table") as caught:
        lyapkit.save(result, tmp_path / "x.csv")
    recipe = str(caught.value).partition("choose a variable: ")[2].removesuffix(".")
    monkeypatch.chdir(tmp_path)
    eval(recipe, {"result": result})
    rows = (tmp_path / "x.csv").read_text().splitlines()
    exponents = (result if isinstance(result, xr.Dataset) else result["lyapunov_spectrum"])["lyapunov_exponent"]
    assert rows[0] == "trajectory,exponent,lyapunov_exponent"
    assert [float(row.split(",")[2]) for row in rows[1:]] == exponents.values.ravel().tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda folder: lyapkit.save(annihilating(), None), TypeError, "path must be the name of a file, got NoneType"),
        (lambda folder: lyapkit.save(str(folder), annihilating()), TypeError, "the result comes first"),
        (lambda folder: lyapkit.save({"a": annihilating()}, "x.nc"), TypeError, "xarray.DataTree.from_dict"),
        (lambda folder: lyapkit.save(annihilating().lyapunov_exponent, "x.nc"), TypeError, "pass the whole result"),
        (lambda folder: lyapkit.load(3), TypeError, "path must be the name of a file, got int"),
        (lambda folder: lyapkit.load(["a.nc"]), TypeError, "got list; give them one by one"),
        (lambda folder: lyapkit.load(folder / "y.csv"), ValueError, r"load reads the \.nc files that save writes"),
        (lambda folder: lyapkit.load(folder / "z"), FileNotFoundError, r"no result file .*z; there is .*z\.nc\.$"),
    ],
    ids=["no name", "swapped", "a dictionary", "a variable", "a number", "a list", "a table", "without suffix"],
)
def test_other_mistakes_are_named(tmp_path, call, error, message: str) -> None:
    (tmp_path / "y.csv").write_text("a,b\n")
    (tmp_path / "z.nc").write_text("")
    with pytest.raises(error, match=message):
        call(tmp_path)
