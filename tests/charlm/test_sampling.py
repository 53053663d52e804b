"""Sampling: the model's own distribution, prompts, temperatures, seeds."""

import numpy as np
import pytest

from rnnx.backends import use_backend
from rnnx.charlm import CharModel, Sampler, Vocabulary
from rnnx.charlm.sampling import BATCH, LONGEST
from rnnx.errors import DataError, OptionError

VOCABULARY = Vocabulary("\n abcdé")
MODEL = CharModel(len(VOCABULARY), "gru", 8, 3, 0.5)


def sampler(temperature=1.0, seed=0, bias=None):
    params = MODEL.init(2)
    if bias is not None:
        params["head.b"] = params["head.b"] + np.array(bias, dtype=np.float32)
    return Sampler(MODEL, params, VOCABULARY, temperature, seed)


def test_every_backend_and_every_time_the_same(backend):
    with use_backend("numpy"):
        expected = sampler().names(30), sampler().passages(3, "ab", 40)
    assert (sampler().names(30), sampler().passages(3, "ab", 40)) == expected
    assert sampler(seed=1).names(30) != expected[0]


def test_names_are_never_empty_and_end():
    names = sampler().names(3 * BATCH // 2)
    assert len(names) == 3 * BATCH // 2
    assert all(0 < len(name) <= LONGEST and "\n" not in name for name in names)
    assert len(set(map(len, names))) > 5


def test_a_model_that_never_ends_is_cut():
    assert {len(name) for name in sampler(bias=[-1e9, 0, 0, 0, 0, 0, 0]).names(5)} == {LONGEST}
    assert [len(name) for name in sampler(bias=[-1e9, 0, 0, 0, 0, 0, 0]).names(5, "a" * 99)] == [100] * 5


def test_frequencies_are_those_of_the_softmax():
    drawn = sampler().passages(4000, "ab", 1)
    ids = VOCABULARY.encode("ab")[:, None]
    logits, _, _ = MODEL.forward(MODEL.init(2), ids, training=False)
    for temperature in (1.0, 0.5):
        p = np.exp(logits[-1, 0, :].astype(np.float64) / temperature)
        p /= p.sum()
        drawn = sampler(temperature).passages(4000, "ab", 1)
        found = np.bincount(VOCABULARY.encode("".join(text[2] for text in drawn)), minlength=len(p)) / 4000
        np.testing.assert_allclose(found, p, atol=4 * np.sqrt(0.25 / 4000))


def test_temperature_0_takes_the_most_likely():
    (greedy,) = sampler(0.0).passages(1, "ab", 10)
    for at in range(2, 12):
        logits, _, _ = MODEL.forward(MODEL.init(2), VOCABULARY.encode(greedy[:at])[:, None], training=False)
        assert VOCABULARY.characters[int(np.argmax(logits[-1, 0, :]))] == greedy[at]
    assert sampler(0.0, seed=9).passages(2, "ab", 10) == [greedy] * 2


def test_extreme_temperatures():
    assert sampler(1e-300).passages(1, "ab", 20) == sampler(0.0).passages(1, "ab", 20)
    assert set("".join(sampler(1e300).passages(20, "a", 50))) == set(VOCABULARY.characters)


def test_prompts():
    assert all(name.startswith("dé") for name in sampler().names(20, "dé"))
    assert {len(text) for text in sampler().passages(3, "dé", 7)} == {9}
    assert {len(text) for text in sampler().passages(3, length=7)} == {7}
    with pytest.raises(DataError, match=r"'ñ' \(U\+00F1\).*knows only 7 characters"):
        sampler().names(1, "añ")
    with pytest.raises(DataError, match="'z'"):
        sampler().passages(1, "z")
    with pytest.raises(OptionError, match="newline ends a name"):
        sampler().names(1, "a\nb")


@pytest.mark.parametrize("temperature", [-0.5, float("nan"), float("inf")])
def test_bad_temperatures(temperature):
    with pytest.raises(OptionError, match="--temperature is"):
        sampler(temperature)


def test_bad_numbers():
    with pytest.raises(OptionError, match="--count is 0"):
        sampler().names(0)
    with pytest.raises(OptionError, match="--length is 0"):
        sampler().passages(1, length=0)
    with pytest.raises(OptionError, match="--seed is -1"):
        sampler(seed=-1)
