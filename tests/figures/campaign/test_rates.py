import dataclasses

from campaign_records import ended
from figures.campaign.rates import FALLBACK, Rates


def test_the_rate_with_the_best_accuracy_at_the_end_is_chosen_for_each_network():
    records = [
        ended(r=0.9, learning_rate=0.1, metrics=(0.1, 0.9, 0.3), metric_name="accuracy"),
        ended(r=0.9, learning_rate=0.2, metrics=(0.1, 0.2, 0.4), metric_name="accuracy"),
        ended(r=1.0, learning_rate=0.1, metrics=(0.1, 0.2, 0.5), metric_name="accuracy"),
        ended(r=1.0, learning_rate=0.2, metrics=(0.1, 0.2, 0.4), metric_name="accuracy"),
    ]
    rates = Rates({"pilot": records})
    assert (rates.of("pilot", r=0.9), rates.of("pilot", r=1.0)) == (0.2, 0.1)


def test_where_all_networks_end_near_chance_the_best_accuracy_on_the_way_decides():
    """An accuracy near chance says which class the network guesses, not how good it is."""
    records = [
        ended(learning_rate=0.1, metrics=(0.09, 0.10, 0.113), metric_name="accuracy"),
        ended(learning_rate=0.2, metrics=(0.09, 0.18, 0.10), metric_name="accuracy"),
        ended(learning_rate=0.3, metrics=(0.09, 0.11, 0.112), metric_name="accuracy"),
    ]
    assert Rates({"pilot": records}).of("pilot") == 0.2
    records.append(ended(learning_rate=0.4, metrics=(0.09, 0.1, 0.21), metric_name="accuracy"))
    records.append(ended(learning_rate=0.5, metrics=(0.09, 0.9, 0.2), metric_name="accuracy"))
    assert Rates({"pilot": records}).of("pilot") == 0.4  # it ends above chance, the last one does not


def test_the_smallest_error_wins_and_of_equal_ones_the_smallest_rate():
    records = [
        ended(learning_rate=0.3, metrics=(1.0, 0.5), metric_name="mse"),
        ended(learning_rate=0.2, metrics=(1.0, 0.25), metric_name="mse"),
        ended(learning_rate=0.1, metrics=(1.0, 0.25), metric_name="mse"),
    ]
    assert Rates({"pilot": records}).of("pilot") == 0.1


def test_a_training_that_diverged_is_worse_than_any_other():
    sound = ended(learning_rate=0.1, metrics=(0.1, 0.1), metric_name="accuracy")
    diverged = ended(learning_rate=0.2, metrics=(0.1, 0.9), metric_name="accuracy")
    diverged = dataclasses.replace(diverged, result=dataclasses.replace(diverged.result, status="diverged"))
    without = dataclasses.replace(
        ended(learning_rate=0.01, metrics=(0.1,), metric_name="accuracy"),
        result=dataclasses.replace(
            diverged.result, test_metrics=[], iterations=[], train_losses=[], gradient_norms=[], best_metric=None
        ),
    )
    assert Rates({"pilot": [diverged, without, sound]}).of("pilot") == 0.1


def test_a_rate_that_nobody_measured_has_a_stand_in():
    assert Rates({}).of("pilot", r=0.9) == FALLBACK
    assert Rates({"pilot": [ended(r=1.0)]}).of("pilot", r=0.9) == FALLBACK
