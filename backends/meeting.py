"""Where threads that share the rows of a step must wait for each other.

Each of them has some of the H rows of every block, and computes these rows of all that a step writes.
Pointwise bodies read no others; a product reads all rows of a block.
"""

from rnnx.typing import Body, Product, Script

Blocks = set[tuple[str, int]]

BEGINNING = -1
"""Number of what a step begins with.

That is the projection of its input, or to add the gradient from above to ``d 0``.
"""

INPUT: Blocks = {("input", 0)}
"""What the projection reads: the threads have written it together, in other memory at every second step."""


def meetings(script: Script, backward: bool) -> frozenset[int]:
    """Numbers of the calls of a script before which all must have done what comes before.

    In a backward pass `pre` and `saved` are other memory at every step.
    """
    calls = [(number, _rows_read(call), _rows_written(call)) for number, call in enumerate(script.calls)]
    touched: Blocks = set().union(*(reads | writes for _, reads, writes in calls))
    if backward:
        first = BEGINNING, set[tuple[str, int]](), {("d 0", 0)}
    else:
        first = BEGINNING, INPUT, {block for block in touched if block[0] == "pre"}
    found: set[int] = set()
    written, read = INPUT, set[tuple[str, int]]()
    for _ in range(3):  # what comes before the first call is the step before
        for number, reads, writes in [first, *calls]:
            if number in found or reads & written or writes & read:
                found.add(number)
                written, read = set(), set()
            read, written = read | reads, written | writes
        written, read = _at_next_step(written, backward) | INPUT, _at_next_step(read, backward)
    return frozenset(found)


def _rows_read(call: Product | Body) -> Blocks:
    """Blocks of which a call reads rows of other threads."""
    if isinstance(call, Body):
        return set()
    return {(call.b.slab, k) for k in range(call.b.start, call.b.stop)}


def _rows_written(call: Product | Body) -> Blocks:
    outputs = call.outputs if isinstance(call, Body) else (call.out,)
    return {(block.slab, k) for block in outputs for k in range(block.start, block.stop)}


def _at_next_step(blocks: Blocks, kept: bool) -> Blocks:
    """The same memory as the next step names it."""
    names = {"next": "prev", "prev": "next"}
    found = set()
    for slab, k in blocks:
        kind, _, number = slab.partition(" ")
        if not (kept and kind in ("pre", "saved")):
            found.add((f"{names.get(kind, kind)} {number}".strip(), k))
    return found
