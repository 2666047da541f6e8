"""Schedules as arithmetic, and what must hold of each of them."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_tf import config as configuration
from melanoma_tf.config import TrainConfig
from melanoma_tf.errors import UserError
from melanoma_tf.schedules import SCHEDULES, cycle_ends, learning_rate

PLAIN = TrainConfig(epochs=12, learning_rate=2.0, warmup_epochs=0.0, final_learning_rate_ratio=0.1)


def rates(positions, **settings):
    return [learning_rate(dataclasses.replace(PLAIN, **settings), position) for position in positions]


def test_the_table_is_what_the_configuration_offers():
    assert set(SCHEDULES) == set(configuration.CHOICES["train.schedule"])


def test_restarts_go_down_in_every_cycle_and_start_at_the_peak_again():
    half = 0.1 + 0.9 / 2
    got = rates([0, 2, 4 - 1e-9, 4, 6, 8, 10, 12], schedule="restarts", restarts=3)
    assert got == pytest.approx([2, 2 * half, 0.2, 2, 2 * half, 2, 2 * half, 0.2])


def test_the_warm_up_takes_its_time_from_the_first_cycle():
    got = rates([0, 1, 2, 3, 4 - 1e-9, 4], schedule="restarts", warmup_epochs=2.0)
    assert got == pytest.approx([0.02, 2 * (0.01 + 0.99 / 2), 2, 2 * (0.1 + 0.9 / 2), 0.2, 2])


def test_one_restart_is_the_cosine():
    positions = [0.0, 0.5, 1.0, 3.7, 11.9, 12.0]
    assert rates(positions, schedule="restarts", restarts=1, warmup_epochs=1.0) == rates(positions, warmup_epochs=1.0)


@pytest.mark.parametrize(("epochs", "cycles", "ends"), [(12, 3, [4, 8, 12]), (10, 3, [3, 7, 10]), (2, 2, [1, 2])])
def test_cycles_end_with_whole_epochs(epochs, cycles, ends):
    assert cycle_ends(dataclasses.replace(PLAIN, epochs=epochs, restarts=cycles)) == ends


def test_one_cycle_is_a_triangle_and_a_tail():
    got = rates([0, 2.7, 5.4, 8.1, 10.8, 11.4, 12], schedule="one_cycle", final_learning_rate_ratio=0.01)
    assert got == pytest.approx([0.2, 2 * 0.55, 2, 2 * 0.55, 0.2, 2 * (0.1 + 0.01) / 2, 0.02])


def test_more_cycles_than_epochs_are_refused():
    with pytest.raises(UserError, match=r"train.restarts is 13; valid is 1 to train.epochs, 12"):
        rates([0], schedule="restarts", restarts=13)


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    epochs=st.integers(1, 60),
    cycles=st.integers(1, 60),
    warmup=st.floats(0, 70),
    floor=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_every_rate_is_positive_and_at_most_the_peak(name, epochs, cycles, warmup, floor, share):
    settings = dataclasses.replace(
        PLAIN, schedule=name, epochs=epochs, restarts=min(cycles, epochs), warmup_epochs=warmup,
        final_learning_rate_ratio=floor,
    )  # fmt: skip
    assert 0.0 <= learning_rate(settings, epochs * share) <= 2.0 + 1e-9
