"""Functions, weights and arrays that a command line names, and the refusal of others."""

import re
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lyapkit_command.arrays import read_named
from lyapkit_command.errors import UserError
from lyapkit_command.functions import load_named, make_network
from lyapkit_command.weights import load_weights

NETWORK = """
import dataclasses, sys
import torch
import beside_it
from torch import nn

@dataclasses.dataclass
class Sizes:
    width: "int" = 3

def make():
    return nn.GRU(beside_it.INPUTS, Sizes().width)

class Family:
    make = staticmethod(make)

def with_arguments(width):
    return nn.GRU(2, width)

def failing():
    raise ValueError("no such width.")

def leaving():
    sys.exit(3)

def nothing():
    pass

ready = make()
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "beside_it.py").write_text("INPUTS = 2\n")
    (tmp_path / "broken.py").write_text("import torch\n1 / 0\n")
    (tmp_path / "half.py").write_text("def make(:\n")
    (tmp_path / "script.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "needy.py").write_text("import no_such_module\n")
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("lyapkit_command_network") or name in ("network", "beside_it", "needy", "broken", "script"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "reference", ["network.py:make", "network:make", "./network.py:make", "network.py:Family.make"]
)
def test_networks_are_made(reference, folder) -> None:
    made = make_network(reference)
    assert (type(made), made.input_size, made.hidden_size) == (nn.GRU, 2, 3)


def test_files_elsewhere_and_networks_that_are_there(folder, tmp_path_factory, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert make_network(f"{folder / 'network.py'}:make").hidden_size == 3
    first, second = (make_network(f"{folder / 'network.py'}:ready") for _ in range(2))
    assert first is second  # one module, not executed twice
    assert load_named(f"{folder / 'network.py'}:number", "loss") == 3


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("network.py", "the network 'network.py' must be MODULE:NAME, such as network.py:make"),
        ("network.py:", "must be MODULE:NAME"),
        (":make", "must be MODULE:NAME"),
        ("no.py:make", "there is no file no.py for the network."),
        ("nowhere:make", "there is no module 'nowhere' for the network, here or among the installed ones."),
        ("half:make", "half raised SyntaxError: "),
        ("network.py:mak", "network.py has no 'mak'. Did you mean 'make'?"),
        ("network.py:number", "network.py:number is int; name a function without arguments"),
        ("network.py:with_arguments", "network.py:with_arguments raised TypeError: with_arguments() missing"),
        ("network.py:failing", r"network.py:failing raised ValueError: no such width (line 21 of "),
        ("network.py:leaving", "network.py:leaving raised SystemExit: 3"),
        ("network.py:nothing", "network.py:nothing returns nothing; let it return the network."),
        ("broken.py:make", "broken.py raised ZeroDivisionError: division by zero (line 2 of "),
        ("broken:make", "broken raised ZeroDivisionError: division by zero (line 2 of "),
        ("script.py:make", "script.py raised SystemExit: 1"),
        ("script:make", "script raised SystemExit: 1"),
        ("needy:make", "needy raised ModuleNotFoundError: No module named 'no_such_module' (line 1 of "),
        ("needy.py:make", "needy.py raised ModuleNotFoundError: No module named 'no_such_module' (line 1 of "),
    ],
)
def test_other_references_are_refused(reference, message, folder) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        make_network(reference)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


# weights


def saved(folder, **tensors):
    save_file(tensors, folder / "w.safetensors")
    return folder / "w.safetensors"


def test_weights_are_copied_exactly(tmp_path) -> None:
    torch.manual_seed(0)
    source, target = nn.GRU(2, 3).double(), nn.GRU(2, 3).double()
    digest = load_weights(target, saved(tmp_path, **source.state_dict()))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)
    assert re.fullmatch("[0-9a-f]{64}", digest)
    half = {name: value.half() for name, value in source.state_dict().items()}  # fits exactly
    load_weights(target, saved(tmp_path, **half))
    assert torch.equal(target.weight_hh_l0, half["weight_hh_l0"].double())


class Tied(nn.Module):
    """An embedding that is also the readout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.readout = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.readout.weight = self.embedding.weight


def test_tied_weights_need_one_name_and_may_have_both(tmp_path) -> None:
    weight = torch.randn(5, 3)
    for names in (["embedding.weight"], ["readout.weight"], ["embedding.weight", "readout.weight"]):
        model = Tied()
        load_weights(model, saved(tmp_path, **{name: weight.clone() for name in names}))
        assert torch.equal(model.embedding.weight, weight)


def test_pickles_are_refused_unread(tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    for zipped in (True, False):
        torch.save({"weight": Evil()}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
        for name in ("w.pt", "w.safetensors"):
            (tmp_path / "w.pt").replace(tmp_path / name)
            with pytest.raises(UserError, match="which can execute code") as caught:
                load_weights(nn.Linear(1, 1), tmp_path / name)
            (tmp_path / name).replace(tmp_path / "w.pt")
        assert 'save_file(torch.load("w.safetensors", weights_only=True)' in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all: {}, "do not fit Linear: it lacks weight, bias."),
        (lambda all: {"weight": all["weight"]}, "it lacks bias."),
        (lambda all: all | {"more": torch.ones(1)}, "it has the unknown more."),
        (
            lambda all: {f"model.{name}": value for name, value in all.items()},
            "take the prefix 'model.' off the names: {name.removeprefix('model.'): value for name, value in",
        ),
        (lambda all: all | {"weight": torch.ones(3, 2)}, "weight has the shape (3, 2), in the network (1, 2); build"),
        (
            lambda all: all | {"weight": torch.ones(1, 2).double()},
            "weight is float64, and float32 in the network, whi",
        ),
        (lambda all: {f"a{n}": torch.ones(1) for n in range(9)} | all, "unknown a0, a1, a2, 6 more."),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message, tmp_path) -> None:
    model = nn.Linear(2, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=re.escape(message)):
        load_weights(model, saved(tmp_path, **change(before)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_damaged_and_missing_files_are_refused(tmp_path) -> None:
    path = saved(tmp_path, weight=torch.ones(1, 2), bias=torch.ones(1))
    for content in (b"", b"nonsense", path.read_bytes()[:-3], (2**60).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not a whole safetensors file"):
            load_weights(nn.Linear(2, 1), path)
    with pytest.raises(UserError, match=r"there is no file .* for --checkpoint"):
        load_weights(nn.Linear(2, 1), tmp_path / "no.safetensors")


# arrays


def test_arrays_by_option_and_by_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.arange(6.0).reshape(2, 3)
    np.savez("all.npz", inputs=values, x_test=2 * values)
    np.savez_compressed("odd:name.npz", inputs=values)
    np.save("one.npy", values.astype(">f4"))
    assert np.array_equal(read_named("all.npz", "inputs"), values)
    assert np.array_equal(read_named("all.npz:x_test", "inputs"), 2 * values)
    assert np.array_equal(read_named("odd:name.npz", "inputs"), values)
    assert np.array_equal(read_named("odd:name.npz:inputs", "targets"), values)
    found = read_named("one.npy", "inputs")
    assert found.dtype == np.float32
    assert found.dtype.isnative
    assert np.array_equal(found, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no.npz", "there is no file no.npz for --inputs; give a .npy or .npz file."),
        ("no.npz:x", "there is no file no.npz for --inputs"),
        ("C:\\data.npz", "there is no file C:\\data.npz for --inputs"),
        ("all.npz", "all.npz lacks inputs. Did you mean 'input'? It has input, words, objects, complex; numpy.savez"),
        ("all.npz:inptu", "all.npz lacks inptu. Did you mean 'input'?"),
        ("all.npz:input2", "all.npz lacks input2. Did you mean 'input'? It has"),
        ("all.npz:words", "the array for --inputs holds <U1, and numbers are needed"),
        ("all.npz:complex", "the array for --inputs holds complex128, and numbers are needed"),
        ("all.npz:objects", "holds objects or records"),
        ("one.npy:x", "one.npy holds one array, which has no name; write --inputs one.npy."),
        ("text.npy", "text.npy is not a NumPy file of plain numbers"),
    ],
)
def test_other_arrays_are_refused(text, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([None], dtype=object)
    np.savez("all.npz", input=np.ones(2), words=np.array(["a"]), objects=objects, complex=np.ones(2) * 1j)
    np.save("one.npy", np.ones(2))
    (tmp_path / "text.npy").write_text("1, 2")
    with pytest.raises(UserError, match=re.escape(message)):
        read_named(text, "inputs")
