import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from wcrnn_models import TrainConfig, UserError
from wcrnn_models.training.fields import described_fields

NAN, INFINITY = float("nan"), float("inf")

VALID = [
    TrainConfig(),
    TrainConfig(length=50, iterations_per_epoch=10, test_size=7, evaluate_every=3, gradient_clip=1.0),
    TrainConfig(task="smnist", residual="rotation", phi=0.2244, r=1.0, train_size=100),
    TrainConfig(task="psmnist", residual="rotation", phi="random", dtype="float64"),
    TrainConfig(residual="heterogeneous", r=0.96, delta_r=0.06, coupling=0, seed=2**40),
    TrainConfig(task="scifar10", residual="informed", coupling="informed", form="B", nonlinearity="identity"),
    TrainConfig(residual="orthogonal", r=0.9, delta_r=0.1, form="A"),
    TrainConfig(residual="rotation", phi=0.1, r=0.9, delta_r=0.1),
    TrainConfig(residual="dense", residual_file="R.npy"),
    TrainConfig(model="elman", gradient_clip=1.0),
    TrainConfig(model="lstm", hidden_size=47),
    TrainConfig(model="ur-lstm", hidden_size=2),
    TrainConfig(model="s4d", hidden_size=34, layers=3, modes=8),
    TrainConfig(task="arrays", data="waves.npz", input_size=3, output_size=2, train_size=100, test_size=10),
    TrainConfig(task="arrays", data="waves.npz", length=1),
]


@pytest.mark.parametrize("config", VALID, ids=range(len(VALID)))
def test_json_round_trip(config):
    text = config.to_json()
    assert TrainConfig.from_json(text) == config
    assert json.loads(text) == json.loads(json.dumps(dataclasses.asdict(config)))


def test_defaults_are_those_of_the_paper():
    config = TrainConfig()
    assert (config.hidden_size, config.batch_size, config.momentum) == (100, 128, 0.9)
    assert (config.coupling, config.r, config.epochs) == (0.01, 0.995, 150)


def test_it_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "smnits"}, "one of adding, smnist, psmnist, scifar10, arrays, got 'smnits'. Did you mean 'smnist'"),
        ({"model": "ltsm"}, "model must be one of wcrnn, elman, lstm, ur-lstm, s4d, got 'ltsm'. Did you mean 'lstm'"),
        ({"form": "C"}, "form must be one of linear, A, B, got 'C'"),
        ({"nonlinearity": "tnah"}, "Did you mean 'tanh'"),
        ({"residual": "rotaton"}, "Did you mean 'rotation'"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"hidden_size": 10.0}, "hidden_size must be an integer, got 10.0"),
        ({"hidden_size": True}, "hidden_size must be an integer, got True"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1"),
        ({"iterations_per_epoch": 0}, "iterations_per_epoch must be at least 1"),
        ({"test_size": 0}, "test_size must be at least 1"),
        ({"train_size": 0, "task": "smnist"}, "train_size must be at least 1"),
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"r": NAN}, "r must be finite, got nan"),
        ({"r": 1e39}, r"^r must not exceed 3.40282347e\+38, the largest number of float32, got 1e\+39\.$"),
        ({"r": -1e300}, r"^r must not exceed 3.40282347e\+38, the largest number of float32, got -1e\+300\.$"),
        ({"r": 10**39}, r"^r must not exceed 3.40282347e\+38, the largest number of float32, got 10{39}\.$"),
        ({"coupling": 1e300}, r"^coupling must not exceed 3.40282347e\+38, .* got 1e\+300\.$"),
        ({"learning_rate": 1e39}, r"^learning_rate must not exceed 3.40282347e\+38, .* got 1e\+39\.$"),
        ({"residual": "heterogeneous", "delta_r": 1e39}, r"^delta_r must not exceed 3.40282347e\+38, .* got 1e\+39\.$"),
        (
            {"residual": "heterogeneous", "r": -3e38, "delta_r": 1e38},
            r"^\|r\| \+ delta_r / 2 must not exceed 3.40282347e\+38, .* got 3.5e\+38\.$",
        ),
        (
            {"residual": "heterogeneous", "r": 1.7e308, "delta_r": 1e308, "dtype": "float64"},
            r"^\|r\| \+ delta_r / 2 must not exceed 1.79769313e\+308, the largest number of float64, got inf\.$",
        ),
        ({"r": "1"}, "r must be a number, got '1'"),
        ({"coupling": -0.01}, "coupling must be at least 0, got -0.01"),
        ({"coupling": INFINITY}, "coupling must be finite"),
        ({"coupling": NAN}, "coupling must be finite, got nan"),
        ({"coupling": "informd"}, "coupling must be one of informed, got 'informd'. Did you mean 'informed'"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0"),
        ({"learning_rate": NAN}, "learning_rate must be finite"),
        ({"momentum": 1.0}, "momentum must be less than 1, got 1.0"),
        ({"momentum": -0.1}, "momentum must be at least 0"),
        ({"gradient_clip": 0}, "gradient_clip must be greater than 0"),
        (
            {"residual": "rotation"},
            "residual 'rotation' needs phi; give an angle in radians per step such as 0.2244, or 'random'",
        ),
        ({"residual": "rotation", "phi": NAN}, "phi must be finite"),
        ({"residual": "rotation", "phi": "randm"}, "Did you mean 'random'"),
        ({"residual": "rotation", "phi": 0.1, "hidden_size": 33}, "even hidden_size, got 33; use 34"),
        ({"phi": 0.1}, "phi does not go with residual 'scalar'"),
        ({"residual": "heterogeneous"}, "residual 'heterogeneous' needs delta_r; give the width of its interval"),
        ({"residual": "heterogeneous", "delta_r": -0.1}, "delta_r must be at least 0"),
        ({"delta_r": 0.1}, "delta_r does not go with residual 'scalar'"),
        ({"residual": "informed", "delta_r": 0.1}, "delta_r does not go with residual 'informed'"),
        ({"residual": "informed", "hidden_size": 7}, "even hidden_size, got 7; use 8"),
        ({"residual": "informed", "r": 0.9}, "r does not go with residual 'informed', which has its own magnitudes"),
        ({"residual": "dense"}, "residual 'dense' needs residual_file; give a NumPy file"),
        ({"residual": "dense", "residual_file": 3}, "residual_file must be the name of a file, got 3"),
        ({"residual": "dense", "residual_file": "R.npy", "r": 1.0}, "r does not go with residual 'dense'"),
        ({"residual_file": "R.npy"}, "residual_file does not go with residual 'scalar'; leave it out, or use 'dense'"),
        ({"model": "lstm", "r": 0.9}, "r does not go with model 'lstm'; leave it out, or use 'wcrnn'"),
        ({"model": "elman", "coupling": 0.1}, "coupling does not go with model 'elman'"),
        ({"model": "s4d", "residual": "rotation"}, "residual does not go with model 's4d'"),
        ({"model": "ur-lstm", "form": "B"}, "form does not go with model 'ur-lstm'"),
        ({"model": "ur-lstm", "hidden_size": 1}, "a UR-LSTM needs a hidden_size of at least 2, got 1"),
        ({"layers": 2}, "layers does not go with model 'wcrnn'; leave it out, or use 's4d'"),
        ({"model": "lstm", "modes": 2}, "modes does not go with model 'lstm'"),
        ({"model": "s4d", "layers": 0}, "layers must be at least 1, got 0"),
        ({"task": "arrays"}, "task 'arrays' needs data; give --data"),
        ({"task": "arrays", "data": 1, "input_size": 1, "output_size": 1}, "data must be the name of a file, got 1"),
        ({"data": "x.npz"}, "data does not go with task 'adding'; leave it out, or use 'arrays'"),
        ({"task": "smnist", "output_size": 10}, "output_size does not go with task 'smnist'"),
        (
            {"task": "scifar10", "length": 1024},
            "length does not go with task 'scifar10', whose sequences have lengths of their own; leave it out",
        ),
        ({"task": "arrays", "data": "x.npz", "length": 0}, "length must be at least 1, got 0"),
        ({"task": "arrays", "data": "x.npz", "input_size": 0}, "input_size must be at least 1, got 0"),
        ({"task": "smnist", "length": 784}, "length does not go with task 'smnist'"),
        (
            {"task": "psmnist", "iterations_per_epoch": 5},
            "iterations_per_epoch does not go with task 'psmnist', where an epoch is one pass",
        ),
        (
            {"train_size": 100},
            "train_size does not go with task 'adding', whose batches are generated afresh; leave it out",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(values, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**values)


def test_the_largest_numbers_of_a_type_are_allowed():
    largest = float(np.finfo(np.float32).max)
    assert TrainConfig(r=largest, coupling=largest).r == largest
    assert TrainConfig(r=1e300, coupling=1e300, dtype="float64").coupling == 1e300
    with pytest.raises(UserError, match="r must not exceed"):
        TrainConfig(r=float(np.nextafter(largest, np.inf)))


def test_numbers_beyond_floating_point():
    with pytest.raises(UserError, match="r must be finite, got an integer of 1329 bits"):
        TrainConfig(r=10**400)
    with pytest.raises(UserError, match="hidden_size must be at most 2147483647, got 2147483648"):
        TrainConfig(hidden_size=2**31)


def test_equal_configurations_have_equal_fingerprints():
    assert TrainConfig(coupling=0, r=1).fingerprint() == TrainConfig(coupling=0.0, r=1.0).fingerprint()
    different = [
        TrainConfig(),
        TrainConfig(r=1.0),
        TrainConfig(seed=1),
        TrainConfig(seed=2**60),
        TrainConfig(length=100),
    ]
    assert len({config.fingerprint() for config in different}) == len(different)


def test_a_field_that_is_added_changes_no_fingerprint():
    """Computed without the fields whose default does not count; a run directory and its state stay usable."""
    assert TrainConfig().fingerprint() == "1f6fd93592d346c304cbe28b5cf8d4da2fbd1a302fe35b85cc9d607805920c8d"
    rotation = TrainConfig(task="smnist", residual="rotation", phi=0.2244, r=1.0, train_size=100)
    assert rotation.fingerprint() == "057c76bc3da83b324b1c6b456179a6f9be191899e006c5ab181f5f159473b633"
    spread = TrainConfig(residual="heterogeneous", r=0.96, delta_r=0.06, coupling=0, seed=2**40)
    assert spread.fingerprint() == "6e94ef30bc84b7528175c67e47cb2e28f2e6ec8f908f3ffccfae6b2166e57797"


def test_every_field_counts_in_the_fingerprint_when_it_is_given():
    changes = {
        "model": {"model": "lstm"},
        "form": {"form": "A"},
        "nonlinearity": {"nonlinearity": "identity"},
        "residual_file": {"residual": "dense", "residual_file": "a.npy"},
        "layers": {"model": "s4d", "layers": 2},
        "modes": {"model": "s4d", "modes": 16},
    }
    arrays = {"task": "arrays", "data": "a.npz", "input_size": 1, "output_size": 1}
    changes |= {
        name: {**arrays, name: value}
        for name, value in (("data", "b"), ("input_size", 2), ("output_size", 2), ("loss_on", "last"))
    }
    changes |= {
        "save_at": {"save_at": (3,)},
        "probe_every": {"probe_every": 3},
        "divergence_loss": {"divergence_loss": 3.0},
        "loss": {"loss": "mse"},
        "validation_size": {"validation_size": 3},
    }
    assert set(changes) == {
        name for name, field in described_fields(TrainConfig).items() if not field.rule.counts_at_default
    }
    configs = [TrainConfig(), TrainConfig(**arrays), *(TrainConfig(**change) for change in changes.values())]
    assert len({config.fingerprint() for config in configs}) == len(configs)


def test_fields_that_were_added_later_may_be_missing_in_a_file():
    config = TrainConfig(length=5, seed=3)
    later = [name for name, field in described_fields(TrainConfig).items() if not field.rule.counts_at_default]
    earlier = {name: value for name, value in dataclasses.asdict(config).items() if name not in later}
    assert "loss_on" in later
    assert TrainConfig.from_dict(earlier) == config
    assert TrainConfig.from_dict({**earlier, "loss": "mse"}) == dataclasses.replace(config, loss="mse")


def test_json_refusals():
    values = dataclasses.asdict(TrainConfig())
    with pytest.raises(UserError, match=r"no field 'learning_rat'. Did you mean 'learning_rate'"):
        TrainConfig.from_json(json.dumps({**values, "learning_rat": 1}))
    del values["seed"], values["r"], values["loss"]
    with pytest.raises(UserError, match=r"lacks the field\(s\) r, seed; add them"):
        TrainConfig.from_json(json.dumps(values))
    with pytest.raises(UserError, match="not valid JSON"):
        TrainConfig.from_json("{")
    with pytest.raises(UserError, match="must be a JSON object, got list"):
        TrainConfig.from_json("[]")
    with pytest.raises(UserError, match="not valid JSON: 'utf-8' codec can't decode"):
        TrainConfig.from_json(b'{"r": "\xff"}')
    with pytest.raises(UserError, match="not valid JSON: maximum recursion depth"):
        TrainConfig.from_json("[" * 100_000)


def test_configuration_and_command_do_not_import_pytorch():
    code = (
        "import sys; import wcrnn_models; from wcrnn_models.training.config import TrainConfig; "
        "TrainConfig();import wcrnn_models.cli; wcrnn_models.cli.main(['train', '--help']); assert 'torch' "
        "not in sys.modules; wcrnn_models.cli.main(['--help']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, stdout=subprocess.DEVNULL)
