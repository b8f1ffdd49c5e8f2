import dataclasses
import json
import subprocess
import sys

import pytest

from wcrnn_models import TrainConfig, UserError

NAN, INFINITY = float("nan"), float("inf")

VALID = [
    TrainConfig(),
    TrainConfig(length=50, iterations_per_epoch=10, test_size=7, evaluate_every=3, gradient_clip=1.0),
    TrainConfig(task="smnist", residual="rotation", phi=0.2244, r=1.0, train_size=100),
    TrainConfig(task="psmnist", residual="rotation", phi="random", dtype="float64"),
    TrainConfig(residual="heterogeneous", r=0.96, delta_r=0.06, coupling=0, seed=2**40),
]


@pytest.mark.parametrize("config", VALID, ids=range(len(VALID)))
def test_json_round_trip(config):
    text = config.to_json()
    assert TrainConfig.from_json(text) == config
    assert json.loads(text) == dataclasses.asdict(config)


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
        ({"task": "smnits"}, "one of adding, smnist, psmnist, got 'smnits'. Did you mean 'smnist'"),
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
        ({"r": "1"}, "r must be a number, got '1'"),
        ({"coupling": -0.01}, "coupling must be at least 0, got -0.01"),
        ({"coupling": INFINITY}, "coupling must be finite"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0"),
        ({"learning_rate": NAN}, "learning_rate must be finite"),
        ({"momentum": 1.0}, "momentum must be less than 1, got 1.0"),
        ({"momentum": -0.1}, "momentum must be at least 0"),
        ({"gradient_clip": 0}, "gradient_clip must be greater than 0"),
        ({"residual": "rotation"}, "a rotation needs phi"),
        ({"residual": "rotation", "phi": NAN}, "phi must be finite"),
        ({"residual": "rotation", "phi": "randm"}, "Did you mean 'random'"),
        ({"residual": "rotation", "phi": 0.1, "hidden_size": 33}, "even hidden_size, got 33; use 34"),
        ({"phi": 0.1}, "phi does not go with residual 'scalar'"),
        ({"residual": "heterogeneous"}, "needs delta_r"),
        ({"residual": "heterogeneous", "delta_r": -0.1}, "delta_r must be at least 0"),
        ({"delta_r": 0.1}, "delta_r does not go with residual 'scalar'"),
        ({"task": "smnist", "length": 784}, "length does not go with smnist"),
        ({"task": "psmnist", "iterations_per_epoch": 5}, "iterations_per_epoch does not go with psmnist"),
        ({"train_size": 100}, "train_size does not go with the adding problem"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(values, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**values)


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


def test_json_refusals():
    values = dataclasses.asdict(TrainConfig())
    with pytest.raises(UserError, match=r"no field 'learning_rat'. Did you mean 'learning_rate'"):
        TrainConfig.from_json(json.dumps({**values, "learning_rat": 1}))
    del values["seed"], values["r"]
    with pytest.raises(UserError, match=r"lacks the field\(s\) r, seed"):
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
        "not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, stdout=subprocess.DEVNULL)
