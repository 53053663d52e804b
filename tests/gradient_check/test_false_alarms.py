"""Right cells pass at any size; tests/bench/false_alarms.py runs a thousand seeds of each."""

import pytest

import rnnx
from rnnx.cells import REGISTRY
from rnnx.gradient_check.check import check
from support.random_problems import random_problem

SEEDS = range(1000, 1006)


@pytest.mark.parametrize("name", REGISTRY)
def test_no_false_alarm_at_random_sizes(name):
    for seed in SEEDS:
        report = check([random_problem(REGISTRY[name], name, seed)], rnnx.get_backend(), seed)
        assert report.passed, str(report)
