"""The n-gram model is a distribution, agrees with arithmetic by hand, and reaches its value on the towns."""

from math import log2

import pytest

from rnnx.charlm.corpus import Vocabulary, bundled_towns, split_names
from rnnx.charlm.ngram import WittenBell
from rnnx.errors import DataError, OptionError


@pytest.fixture(scope="module")
def towns() -> tuple[WittenBell, list[str]]:
    names = bundled_towns()
    train, held_out = split_names(names, seed=0)
    return WittenBell().fit(train, Vocabulary.from_names(names).characters), held_out


@pytest.mark.parametrize("prefix", ["", "S", "San ", "San Juan", "qqqq", "]0x", "Áñ", "\n", "never\nseen 😀"])
def test_sums_to_one(towns: tuple[WittenBell, list[str]], prefix: str) -> None:
    model, _ = towns
    p = [model.probability(character, prefix) for character in model.characters]
    assert len(p) == 82
    assert min(p) > 0
    assert sum(p) == pytest.approx(1, abs=1e-12)


def test_by_hand() -> None:
    # The characters predicted in "ab" and "aa" are a b \n a a \n: a three times, b once, \n twice.
    model = WittenBell(order=2).fit(["ab", "aa"], "\nabc")
    a, b, c, end = ((n + 3 / 4) / (6 + 3) for n in (3, 1, 0, 2))
    assert model.probability("a") == pytest.approx((2 + 1 * a) / (2 + 1), rel=1e-15)
    assert model.probability("b") == pytest.approx((0 + 1 * b) / (2 + 1), rel=1e-15)
    assert model.probability("a", "ba") == pytest.approx((1 + 3 * a) / (3 + 3), rel=1e-15)
    assert model.probability("\n", "b") == pytest.approx((1 + 1 * end) / (1 + 1), rel=1e-15)
    assert model.probability("c", "c") == pytest.approx(c, rel=1e-15)


def test_bits_count_the_ending_newline() -> None:
    model = WittenBell(order=3).fit(["ab", "aa"], "\nabc")
    p = [
        model.probability("a"),
        model.probability("b", "a"),
        model.probability("\n", "ab"),
        model.probability("\n"),
    ]
    assert model.bits_per_character(["ab", ""]) == pytest.approx(-sum(map(log2, p)) / 4, rel=1e-15)


def test_unigrams_have_no_context() -> None:
    model = WittenBell(order=1).fit(["ab"], "\nab")
    assert model.probability("a", "b") == model.probability("a") == pytest.approx((1 + 3 / 3) / (3 + 3))


def test_fit_forgets_the_earlier_fit() -> None:
    model = WittenBell().fit(["xyz"], "\nxyz").fit(["ab", "aa"], "\nabc")
    assert model.bits_per_character(["ab"]) == WittenBell().fit(["ab", "aa"], "\nabc").bits_per_character(
        ["ab"]
    )


def test_towns(towns: tuple[WittenBell, list[str]]) -> None:
    model, held_out = towns
    assert model.bits_per_character(held_out) == pytest.approx(2.1914, abs=5e-4)


def test_errors() -> None:
    with pytest.raises(OptionError, match="order is 0"):
        WittenBell(0)
    with pytest.raises(DataError, match="'ab' has 'b'"):
        WittenBell().fit(["a", "ab"], "\na")
    with pytest.raises(DataError, match=r"has '\\n'"):
        WittenBell().fit(["a\na"], "\na")
    with pytest.raises(DataError, match="no names"):
        WittenBell().fit([], "\na")
    with pytest.raises(DataError, match="'a'"):
        WittenBell().probability("a")
    model = WittenBell().fit(["a"], "\na")
    with pytest.raises(DataError, match="no names"):
        model.bits_per_character([])
    for wrong in ("b", "", "\na"):
        with pytest.raises(DataError, match="known characters"):
            model.probability(wrong)
