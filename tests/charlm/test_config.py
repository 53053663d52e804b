"""Options: every one is checked, and names what is known; defaults depend on the data and on each other."""

import pytest

from rnnx.charlm.config import TrainConfig, backend_name
from rnnx.errors import BackendError, DataError, OptionError


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("hidden", 0, "at least 1"),
        ("hidden", 10**9, "at most"),
        ("hidden", 2.5, "an integer"),
        ("embedding", -1, "at least 0"),
        ("steps", 0, "at least 1"),
        ("batch", True, "an integer"),
        ("window", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("dropout", 1.0, "less than 1"),
        ("dropout", float("nan"), "a number"),
        ("learning_rate", 0.0, "expected a finite number above 0"),
        ("learning_rate", -0.1, "expected a finite number above 0"),
        ("learning_rate", float("inf"), "expected a finite number above 0"),
        ("clip_norm", -1.0, "expected a finite number, or 0 for no limit"),
        ("clip_value", "5", "expected a finite number, or 0 for no limit"),
        ("cell", "lstmm", "Did you mean lstm"),
        ("cell", "transformer", "Known are rnn"),
        ("optimizer", "adam", "Did you mean adamw"),
        ("optimizer", "lion", "Known are sgd, adagrad, rmsprop, adamw"),
    ],
)
def test_a_bad_option_is_named(option, value, expected):
    with pytest.raises(OptionError) as caught:
        TrainConfig.for_data(1000, text=False, **{option: value})
    assert f"--{option.replace('_', '-')} is {value!r}" in caught.value.problem
    assert expected in str(caught.value)


def test_a_backend_is_named():
    assert backend_name("cupy:1") == "cupy:1"
    with pytest.raises(BackendError, match=r"--backend is 'nunpy'.*Did you mean numpy\? Known are numpy"):
        backend_name("nunpy")


def test_defaults():
    names = TrainConfig.for_data(90_000, text=False)
    assert names == TrainConfig()
    assert (names.clip_norm, names.clip_value) == (1.0, 0.0)
    text = TrainConfig.for_data(90_000, text=True, cell=None)
    assert (text.clip_norm, text.clip_value, text.window, text.batch) == (0.0, 5.0, 50, 16)
    assert TrainConfig.for_data(90_000, text=True, optimizer="adagrad").learning_rate == 0.1
    only = TrainConfig.for_data(90_000, text=True, clip_norm=2.0)
    assert (only.clip_norm, only.clip_value) == (2.0, 0.0)
    only = TrainConfig.for_data(90_000, text=False, clip_value=2.0)
    assert (only.clip_norm, only.clip_value) == (0.0, 2.0)


@pytest.mark.parametrize("characters", [2, 3, 40, 51, 200, 815, 816, 817])
def test_a_short_text_has_windows(characters):
    config = TrainConfig.for_data(characters, text=True)
    assert characters // config.batch >= config.window + 1


def test_a_dict_and_back():
    config = TrainConfig(cell="lstm", dropout=0.25, text=True)
    assert TrainConfig.from_dict(config.to_dict(), "x") == config
    good = config.to_dict()
    bad = [
        (None, "NoneType"),
        ({}, r"\[\]"),
        (good | {"depth": 2}, "depth"),
        (good | {"hidden": "9"}, "hidden is '9'; expected a value of type int"),
        (good | {"steps": True}, "steps is True"),
        (good | {"hidden": 0}, "--hidden is 0"),
        (good | {"cell": "x"}, "--cell is 'x'"),
    ]
    for found, expected in bad:
        with pytest.raises(DataError, match=f"x: .*{expected}"):
            TrainConfig.from_dict(found, "x")
