"""Printer of a pointwise body over blocks of a slab, for NumPy: what is done to neighbours alike is one call.

The blocks of a slab lie one below the other, so what is done alike to neighbours is done to both at once: one
tanh of all gates instead of one for each. Of small arrays a call costs more than its arithmetic.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from rnnx.backends import printing
from rnnx.typing import Array, Instruction, Kernel, Namespace, Program


class Place(NamedTuple):
    """A block of a slab or of the scratch memory, or all of an array."""

    array: str
    row: int | None


@cache
def maker(
    program: Program, slabs: tuple[tuple[int, ...], ...], xp: Namespace, dtype: Any
) -> tuple[Callable[[Array, int], Kernel], int]:
    """The program in a namespace with NumPy's ``out`` arguments, without an allocation.

    Parameters
    ----------
    slabs : tuple of tuple of int
        For each slab the places of its blocks. The blocks are the first inputs, slab after slab; those of the
        first slab are the first outputs too, and are replaced by these.

    Returns
    -------
    make : callable
        ``make(scratch, H)`` returns ``kernel(*slabs, *inputs, out=(slab, *outputs))``, which works in these
        scratch blocks, (rows*H, N) of that dtype; for one thread.
    rows : int
        Number of scratch blocks.
    """
    constants: dict[float, str] = {}
    printer = Printer(program, slabs, lambda value: constants.setdefault(value, f"c{len(constants)}"))
    body = printer.source()
    lines = ["def make(scratch, H):"]
    lines += [f"    k{a}_{b} = slice({a} * H, {b} * H)" for a, b in sorted(printer.spans)]
    lines += [f"    {line}" for line in [*printer.fixed, *body]]
    lines += [f"    return {printing.function_name(program)}"]
    scope = printing.in_place_scope(xp, dtype, constants)
    return printing.compile_source("\n".join(lines), "make", scope), printer.rows


class Printer:
    """Puts instructions in an order and values in places, so that neighbours are computed together."""

    def __init__(
        self, program: Program, slabs: tuple[tuple[int, ...], ...], constant: Callable[[float], str]
    ) -> None:
        self.rows = 0
        self.spans: set[tuple[int, int]] = set()
        self.fixed: list[str] = []
        self._program = program
        self._constant = constant
        self._waiting = list(program.instructions)
        self._place: dict[str, Place] = {}
        names = iter(program.inputs)
        for number, slab in enumerate(slabs):
            self._place |= {next(names): Place(f"p{number}", row) for row in slab}
        self._arguments = [f"p{number}" for number in range(len(slabs))]
        rest = list(names)
        self._arguments += rest
        self._place |= {name: Place(name, None) for name in rest}
        outputs = [Place("p0", row) for row in slabs[0]]
        outputs += [Place(f"o{k}", None) for k in range(len(program.outputs) - len(slabs[0]))]
        # A value may be several outputs: it is computed in the first place, and copied to the others.
        self._homes = list(zip(program.outputs, outputs, strict=True))
        self._home = dict(reversed(self._homes))
        # An output may have the memory of the input of its number.
        twins = zip(outputs, program.inputs, strict=False)
        self._twin = {place: name for place, name in twins if place.row is None}
        readers = {name: [s for s in program.instructions if name in _names(s)] for name in self._names()}
        self._only_reader = {name: steps[0].target for name, steps in readers.items() if len(steps) == 1}
        self._outputs = [place.array for place in outputs if place.row is None]
        self._views: dict[tuple[str, int, int], str] = {}

    def source(self) -> list[str]:
        """Lines of the kernel."""
        body: list[str] = []
        while self._waiting:
            group = self._next()
            for step in group:
                self._waiting.remove(step)
            targets = self._targets(group)
            words = [self._word(group, k) for k in range(len(group[0].arguments))]
            body.append(f"    {printing.call(group[0].operation, words, self._span(targets))}")
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
            body.append(f"    copyto({self._span(ends)}, {self._span(starts)})")
            del copies[:count]
        head = [f"def {printing.function_name(self._program)}({', '.join(self._arguments)}, out):"]
        head += [f"    {', '.join(['_', *self._outputs])}, = out"]
        views = [f"    {name} = {array}[k{a}_{b}]" for (array, a, b), name in self._views.items()]
        return [*head, *views, *body, "    return out"]

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

    def _names(self) -> set[str]:
        return {*self._program.inputs, *(step.target for step in self._program.instructions)}

    def _is_safe(self, group: list[Instruction]) -> bool:
        homes = [self._home[step.target] for step in group if step.target in self._home]
        return not any(self._is_needed(home, group) for home in homes)

    def _is_needed(self, place: Place, but: list[Instruction]) -> bool:
        """Whether what stands at a place is still to be read by others, or is an output."""
        inside = {name for name, at in self._place.items() if at == place}
        if place in self._twin:
            inside.add(self._twin[place])
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
                    place.array == "s" or (place.array == "p0" and place == self._end(step.target))
                    for step, place in zip(group, places, strict=True)
                ):
                    return places
        taken = {at.row for at in self._place.values() if at.array == "s" and self._is_needed(at, [])}
        start = next(row for row in range(self.rows + 1) if taken.isdisjoint(range(row, row + len(group))))
        self.rows = max(self.rows, start + len(group))
        return [Place("s", start + k) for k in range(len(group))]

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
        a, b = row, row + len(places)
        self.spans.add((a, b))
        name = f"{array}_{a}_{b}"
        if array == "s":
            line = f"{name} = scratch[k{a}_{b}]"
            if line not in self.fixed:
                self.fixed.append(line)
        else:
            self._views[array, a, b] = name
        return name


def _names(step: Instruction) -> set[str]:
    return {a for a in step.arguments if isinstance(a, str)}


def _adjacent(places: Sequence[Place]) -> bool:
    """Whether places are a single one, or blocks one below the other."""
    (array, row), *others = places
    return not others or (
        row is not None and others == [Place(array, row + 1 + k) for k in range(len(others))]
    )
