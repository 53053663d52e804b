"""How much of what a model samples is its own."""

from collections.abc import Iterable
from typing import NamedTuple


class Novelty(NamedTuple):
    """Counts of sampled names; new + copied + held_out == sampled, and doubled counts across all three."""

    sampled: int  # all samples
    new: int  # neither a training name nor a held-out one
    copied: int  # a training name
    held_out: int  # a held-out name that is no training name: right, and never seen
    doubled: int  # equal to an earlier sample


def novelty(samples: Iterable[str], train: Iterable[str], held_out: Iterable[str]) -> Novelty:
    """Count new, copied, held-out and repeated names among the samples.

    Names are compared exactly, case and accents included, after removing newlines at their ends and nothing
    else. A name sampled k times counts k times in its class and k - 1 times as doubled. An empty sample is a
    name too.
    """
    drawn = [_name(sample) for sample in samples]
    known = {_name(name) for name in train}
    unseen = {_name(name) for name in held_out} - known
    copied = sum(name in known for name in drawn)
    right = sum(name in unseen for name in drawn)
    return Novelty(len(drawn), len(drawn) - copied - right, copied, right, len(drawn) - len(set(drawn)))


def _name(text: str) -> str:
    return text.strip("\n")
