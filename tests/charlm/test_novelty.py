"""Each sampled name is counted in one class, and repeats across all of them."""

from rnnx.charlm.novelty import Novelty, novelty


def test_each_class() -> None:
    samples = ["Tula", "Ayo", "Xala", "Xala", "Tula", "Xala"]
    assert novelty(samples, train=["Tula", "Baca"], held_out=["Ayo"]) == Novelty(
        sampled=6, new=3, copied=2, held_out=1, doubled=3
    )


def test_only_newlines_are_stripped() -> None:
    found = novelty(["Tula\n", "\nAyo\n", " Tula", "tula", "Ayó"], train=["Tula"], held_out=["Ayo\n"])
    assert found == Novelty(sampled=5, new=3, copied=1, held_out=1, doubled=0)


def test_a_name_in_both_sets_is_copied() -> None:
    assert novelty(["Tula"], ["Tula"], ["Tula"]) == Novelty(1, 0, 1, 0, 0)


def test_generators_and_nothing() -> None:
    assert novelty(iter(["a", "a", ""]), iter("ab"), iter("c")) == Novelty(3, 1, 2, 0, 1)
    assert novelty([], ["a"], ["b"]) == Novelty(0, 0, 0, 0, 0)
