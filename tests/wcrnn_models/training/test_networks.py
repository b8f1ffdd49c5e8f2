"""The rows of Table 2 by name."""

import pytest

from wcrnn_models import UserError, preset
from wcrnn_models.training.build import build_model
from wcrnn_models.training.networks import NETWORKS, network_fields


def test_every_network_has_about_ten_thousand_parameters() -> None:
    """Table 2; counted on sMNIST."""
    models = {name: build_model(preset("smnist", learning_rate=1.0, **network_fields(name))) for name in NETWORKS}
    assert {name: sum(parameter.numel() for parameter in model.parameters()) for name, model in models.items()} == {
        "wcrnn-best": 11_310,
        "wcrnn-no-tanh": 11_310,
        "elman-wc": 11_310,
        "elman-res-clip": 11_310,
        "lstm": 9_880,
        "ur-lstm": 9_645,
        "s4d": 9_802,
    }


def test_the_rows_of_table_2() -> None:
    configs = {name: preset("add100", learning_rate=1.0, **network_fields(name)) for name in NETWORKS}
    best = configs["wcrnn-best"]
    assert (best.residual, best.coupling, best.form, best.nonlinearity) == ("informed", "informed", "linear", "tanh")
    assert configs["wcrnn-no-tanh"].nonlinearity == "identity"
    assert (configs["elman-wc"].form, configs["elman-wc"].residual) == ("B", "informed")
    assert (configs["elman-res-clip"].model, configs["elman-res-clip"].gradient_clip) == ("elman", 1.0)
    assert (configs["lstm"].model, configs["lstm"].hidden_size) == ("lstm", 47)


def test_the_fields_are_copies() -> None:
    network_fields("lstm")["hidden_size"] = 1
    assert network_fields("lstm")["hidden_size"] == 47


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(UserError, match=r"the network must be one of .*got 'lsmt'\. Did you mean 'lstm'"):
        network_fields("lsmt")
