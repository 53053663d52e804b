"""Printer of a pointwise body over blocks of slabs, for NumPy: what is done to neighbours alike is one call.

The blocks of a slab lie one below the other, so what is done alike to neighbours is done to both at once: one
tanh of all gates instead of one for each. Of small arrays a call costs more than its arithmetic.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rnnx.backends import printing
from rnnx.typing import Instruction, Program

SCRATCH = "s"
"""Array that values are kept in which are no outputs."""


class Place(NamedTuple):
    """A block of H rows of an array, by its number, or all of an array."""

    array: str
    row: int | None


class Printer:
    """Puts instructions in an order and values in places, so that neighbours are computed together.

    Parameters
    ----------
    program : Program
    inputs, outputs : sequence of Place
        An output may be any input's place.
    constant : callable
        Word for a number.

    Attributes
    ----------
    rows : int
        Number of blocks of scratch memory, once the source is made.
    spans : set of (str, int, int)
        Views that the source names, by `view`: blocks of an array, the first and behind the last.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Place],
        outputs: Sequence[Place],
        constant: Callable[[float], str],
    ) -> None:
        self.rows = 0
        self.spans: set[tuple[str, int, int]] = set()
        self._constant = constant
        self._waiting = list(program.instructions)
        self._place = dict(zip(program.inputs, inputs, strict=True))
        # A value may be several outputs: it is computed in the first place, and copied to the others.
        self._homes = list(zip(program.outputs, outputs, strict=True))
        self._home = dict(reversed(self._homes))
        names = {*program.inputs, *(step.target for step in program.instructions)}
        readers = {name: [s for s in program.instructions if name in _names(s)] for name in names}
        self._only_reader = {name: steps[0].target for name, steps in readers.items() if len(steps) == 1}

    def source(self) -> list[str]:
        """Lines that compute the body."""
        body: list[str] = []
        while self._waiting:
            group = self._next()
            for step in group:
                self._waiting.remove(step)
            targets = self._targets(group)
            words = [self._word(group, k) for k in range(len(group[0].arguments))]
            body.append(printing.call(group[0].operation, words, self._span(targets)))
            for step, place in zip(group, targets, strict=True):
                self._place[step.target] = place
        copies = [(home, self._place[name]) for name, home in self._homes if self._place[name] != home]
        while copies:
            count = len(copies)
            while not (
                _adjacent([to for to, _ in copies[:count]]) and _adjacent([at for _, at in copies[:count]])
            ):
                count -= 1
            ends, starts = zip(*copies[:count], strict=True)
            body.append(f"copyto({self._span(ends)}, {self._span(starts)})")
            del copies[:count]
        return body

    def _next(self) -> list[Instruction]:
        """The instructions to print next: neighbours of each other, as many as there are."""
        known = set(self._place)
        ready = [step for step in self._waiting if known.issuperset(_names(step))]
        groups = [self._group(step, ready) for step in ready]
        # What replaces a block waits for the block's readers, and a tanh for those of its neighbours.
        return min(groups, key=lambda group: (not self._is_safe(group), group[0].operation == "tanh"))

    def _group(self, first: Instruction, ready: list[Instruction]) -> list[Instruction]:
        shifts = [self._shift(first, step) for step in ready]
        found = {shift: step for shift, step in zip(shifts, ready, strict=True) if shift is not None}
        low = high = 0
        while low - 1 in found:
            low -= 1
        while high + 1 in found:
            high += 1
        return [found[shift] for shift in range(low, high + 1)]

    def _is_safe(self, group: list[Instruction]) -> bool:
        homes = [self._home[step.target] for step in group if step.target in self._home]
        return not any(self._is_needed(home, group) for home in homes)

    def _is_needed(self, place: Place, but: list[Instruction]) -> bool:
        """Whether what stands at a place is still to be read by others, or is an output."""
        inside = {name for name, at in self._place.items() if at == place}
        return not inside.isdisjoint(self._home) or any(
            inside & _names(step) for step in self._waiting if step not in but
        )

    def _end(self, name: str) -> Place | None:
        """The output that a value ends in, if it is read once, and so on."""
        while name not in self._home and name in self._only_reader:
            name = self._only_reader[name]
        return self._home.get(name)

    def _shift(self, first: Instruction, step: Instruction) -> int | None:
        """By how many blocks all that an instruction reads is behind what the first one reads."""
        if step is first:
            return 0
        if step.operation != first.operation:
            return None
        shifts = set()
        for a, b in zip(first.arguments, step.arguments, strict=True):
            if isinstance(a, str) and isinstance(b, str):
                one, other = self._place[a], self._place[b]
                if one.array != other.array or one.row is None or other.row is None:
                    return None
                shifts.add(other.row - one.row)
            elif a != b:
                return None
        return shifts.pop() if len(shifts) == 1 else None

    def _targets(self, group: list[Instruction]) -> list[Place]:
        """Where the results go: to their homes, over what is read for the last time, or to scratch blocks."""
        homes = [self._home[step.target] for step in group if step.target in self._home]
        if len(homes) == len(group) and _adjacent(homes) and self._is_safe(group):
            return homes
        for k, argument in enumerate(group[0].arguments):
            if isinstance(argument, str):
                places = [self._place[str(step.arguments[k])] for step in group]
                if not any(self._is_needed(place, group) for place in places) and all(
                    place.array == SCRATCH or place == self._end(step.target)
                    for step, place in zip(group, places, strict=True)
                ):
                    return places
        taken = {at.row for at in self._place.values() if at.array == SCRATCH and self._is_needed(at, [])}
        start = next(row for row in range(self.rows + 1) if taken.isdisjoint(range(row, row + len(group))))
        self.rows = max(self.rows, start + len(group))
        return [Place(SCRATCH, start + k) for k in range(len(group))]

    def _word(self, group: list[Instruction], k: int) -> str:
        argument = group[0].arguments[k]
        if not isinstance(argument, str):
            return self._constant(argument)
        return self._span([self._place[str(step.arguments[k])] for step in group])

    def _span(self, places: Sequence[Place]) -> str:
        """Name of a view of neighbouring blocks."""
        array, row = places[0]
        if row is None:
            return array
        span = array, row, row + len(places)
        self.spans.add(span)
        return view(*span)


def view(array: str, first: int, last: int) -> str:
    """Name of a view of some blocks of an array."""
    return f"{array}_{first}_{last}"


def _names(step: Instruction) -> set[str]:
    return {a for a in step.arguments if isinstance(a, str)}


def _adjacent(places: Sequence[Place]) -> bool:
    """Whether places are a single one, or blocks one below the other."""
    (array, row), *others = places
    return not others or (
        row is not None and others == [Place(array, row + 1 + k) for k in range(len(others))]
    )
