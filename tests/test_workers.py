"""A pool whose processes may die: order kept, the others go on."""

import os

import pytest

from melanoma_tf.errors import UserError
from tfrecord_tools.workers import ordered_workers

FATAL = (3, 11)


def double(number):
    if number in FATAL:
        os.abort()
    return 2 * number


def apart(number, run_alone):
    found = run_alone(number)
    return f"{number} died" if found is None else found


def test_what_kills_a_worker_is_lost_alone():
    with ordered_workers(2, apart) as ordered_map:
        found = list(ordered_map(double, range(14)))
    assert found == [f"{number} died" if number in FATAL else 2 * number for number in range(14)]


def test_without_a_way_out_a_dead_worker_is_named():
    with pytest.raises(UserError, match="a worker process died"), ordered_workers(2) as ordered_map:
        list(ordered_map(double, range(5)))


def test_no_more_than_a_few_results_wait():
    asked = []

    def arguments():
        for number in range(4, 11):
            asked.append(number)
            yield number

    with ordered_workers(2, apart) as ordered_map:
        stream = ordered_map(double, arguments())
        assert next(stream) == 8 and len(asked) == 5
        assert list(stream) == [10, 12, 14, 16, 18, 20]
