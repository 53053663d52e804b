"""The lines of a time loop's source that make up one step, from its script."""

from rnnx.backends import numba_kernels
from rnnx.backends.meeting import BEGINNING, meetings
from rnnx.typing import Block, Body, Product, Script

TOGETHER = "together = 32 if apart else max(high - low, 1)"
"""Rows that bodies compute at a time: few are at hand from being copied to being copied back."""

KEPT = {"pre": "blocks", "saved": "saved_blocks"}
"""What is kept of a step besides states, and how many blocks of H rows."""


def packed(script: Script) -> dict[str, tuple[str, str]]:
    """Matrices that a loop packs, one after the other: the blocks of H rows, and the columns, of each."""
    found = {f"packed{k}": (str(rows), f"{inner} * H") for k, rows, inner in matrices_of(script)}
    return found if script.backward else found | {"packed_x": ("blocks", "(D + 1)")}


def pack(script: Script) -> list[str]:
    """What a thread does first: it packs its own rows of the matrices."""
    own, lines = "H, first, last", []
    for k, blocks, inner in matrices_of(script):
        matrix = f"matrix{k}_data, matrix{k}_0, matrix{k}_1"
        lines.append(f"call(pack, {matrix}, packed{k}_data, {blocks}, {own}, {inner} * H, 0, {inner} * H)")
    if not script.backward:
        lines += [
            f"call(pack, Wx_data, Wx_1, Wx_0, packed_x_data, blocks, {own}, D + 1, 0, D)",
            f"call(pack, bias_data, bias_0, 0, packed_x_data, blocks, {own}, D + 1, D, D + 1)",
        ]
    return _under("if fresh and N > 1:", lines)


def setup(script: Script, states: int) -> list[str]:
    """What a thread does before the first step."""
    if script.backward:
        lines = [_take(f"d{k}", "0", "0") for k in range(states)]
        lines += [_take(name, "steps", "steps % 2") for name in _states_read(script, states)]
        return [TOGETHER, *_under("if apart:", lines)]
    return [
        TOGETHER,
        *_under("if apart:", [_take(f"state{k}", "0", "0") for k in range(states)]),
        "many = ROWS if N == 1 else 1",  # steps that are projected together
        "inputs = many * N",
        "beside = x_0 if N == 1 else x_1",
        "share, share_end = D * rank // team, D * (rank + 1) // team",
        "if rank == 0:",
        "    for n in range(inputs):",  # the input of the bias
        "        turned[D * inputs + n] = ONE",
        "        turned[(D + 1 + D) * inputs + n] = ONE",
        _turn("0"),
    ]


def end(script: Script, states: int) -> list[str]:
    """What a thread that has columns of its own does after the last step."""
    if script.backward:
        return [_give(f"d{k}", "0", "0") for k in range(states)]
    return _under("if not keep:", [_give(f"state{k}", "steps % 2", "steps % 2") for k in range(states)])


def step(script: Script, states: int) -> tuple[list[str], list[str]]:
    """Loops of the bodies, and the lines of one step."""
    kernels: list[str] = []
    body: list[str] = []
    waits = meetings(script, script.backward)

    def wait(number: int) -> None:
        if number in waits:
            body.extend(["if team > 1:", "    met += team", "    meet(counter, met, idle)"])

    wait(BEGINNING)
    early, late = _places(script)
    if early is None:
        body += _taken(script, states, "0, H")
    if script.backward:
        body += ["if dy_size:", "    call(turn, dy_data + t * dy_0, dy_1, dy_2, d0_data, low, high, N, N, 1)"]
    else:
        target = "pre_data + at * blocks * B * SIZE"
        weights = "Wx_data, Wx_0 // SIZE, bias_data, bias_0"
        body += [
            "if t % many == 0:",
            f"    here = {_turned('t')}",
            "    if N == 1:",
            f"        call(project, here, min(many, steps - t), D, {weights}, blocks * H, {target})",
            "    else:",
            f"        call(multiply, packed_x_data, blocks, H, first, last, D + 1, here, N, {target}, 0)",
        ]
    for number, call in enumerate(script.calls):
        wait(number)
        if isinstance(call, Product):
            blocks, inner = _shape(call)
            ends = f"{inner} * H, {_address(call.b)}", f"{_address(call.out)}, {int(call.add)}"
            matrix = f"matrix{call.a}_data, matrix{call.a}_0, matrix{call.a}_1"
            body += [
                "if N == 1:",
                f"    call(multiply_one, {matrix}, {blocks} * H, {', '.join(ends)})",
                "else:",
                f"    call(multiply, packed{call.a}_data, {blocks}, H, first, last, {', N, '.join(ends)})",
            ]
        else:
            name, text, passed = _kernel(call, number)
            kernels.append(text)
            rows = ["top = min(row + together, high)"]
            if number == early:
                rows += _taken(script, states, "row, top")
            rows.append(f"{name}({', '.join(passed)})")
            if number == late:
                rows += _given(script, states, "row, top")
            body += _under("for row in range(low, high, together):", rows)
    if late is None:
        body += _given(script, states, "0, H")
    if not script.backward:
        outputs = "state0_data + after * B * SIZE, y_data + t * y_0, y_1, y_2"
        body += ["if y_size:", f"    call(turn_back, {outputs}, low, high, N)"]
        body += ["if (t + 1) % many == 0 and t + 1 < steps:", "    " + _turn("t + 1")]
    return kernels, body


def _turned(step: str) -> str:
    """Address of the turned input that is projected from a step on: two take turns in memory."""
    return f"turned_data + (({step}) // many & 1) * (D + 1) * inputs * SIZE"


def _turn(step: str) -> str:
    """Line that turns a thread's share of that input."""
    x, columns = f"x_data + ({step}) * x_0, beside, x_2", f"min(inputs, (steps - ({step})) * N), inputs"
    return f"call(turn, {x}, {_turned(step)}, share, share_end, {columns}, 0)"


def _under(head: str, lines: list[str]) -> list[str]:
    """Lines below a line that ends with a colon; nothing if there are none."""
    return [head, *("    " + line for line in lines)] if lines else []


def _taken(script: Script, states: int, rows: str) -> list[str]:
    """Lines that copy some rows of a step that was kept to a thread's own memory."""
    if not script.backward:
        return []
    lines = [_take(name, "t", "0", blocks, rows) for name, blocks in KEPT.items()]
    return _under(
        "if apart:", lines + [_take(k, "t", "before", rows=rows) for k in _states_read(script, states)]
    )


def _given(script: Script, states: int, rows: str) -> list[str]:
    """Lines that copy back what a thread has computed of them."""
    lines = [_give(name, "t", "0", blocks, rows) for name, blocks in KEPT.items()]
    if not script.backward:
        lines += [_give(f"state{k}", "t + 1", "after", rows=rows) for k in range(states)]
    return _under("if apart and keep:", lines)


def _places(script: Script) -> tuple[int | None, int | None]:
    """Numbers of the bodies that rows may be copied just before and just after, while they are at hand.

    Before the first there is no product, and after the last none that writes what is kept.
    """
    bodies = [number for number, call in enumerate(script.calls) if isinstance(call, Body)]
    if not bodies:
        return None, None
    products = [(number, call) for number, call in enumerate(script.calls) if isinstance(call, Product)]
    kept = {*KEPT} if script.backward else {*KEPT, "next"}
    late = all(number < bodies[-1] or call.out.slab.split()[0] not in kept for number, call in products)
    return bodies[0] if bodies[0] == 0 else None, bodies[-1] if late else None


def _take(name: str, step: str, own: str, blocks: str = "1", rows: str = "0, H") -> str:
    """Line that copies a thread's columns of a step from an array to the thread's own memory."""
    source, target = _whole(name, step, blocks), _own(name, own, blocks)
    return f"call(copy_columns, {source}, width, {target}, N, {blocks}, H, {rows}, N)"


def _give(name: str, step: str, own: str, blocks: str = "1", rows: str = "0, H") -> str:
    """Line that copies them back."""
    source, target = _own(name, own, blocks), _whole(name, step, blocks)
    return f"call(copy_columns, {source}, N, {target}, width, {blocks}, H, {rows}, N)"


def _whole(name: str, step: str, blocks: str) -> str:
    return f"whole_{name} + (({step}) * {blocks} * H * width + left) * SIZE"


def _own(name: str, step: str, blocks: str) -> str:
    return f"{name}_data + ({step}) * {blocks} * B * SIZE"


def _states_read(script: Script, states: int) -> list[str]:
    """Arrays of the states that a step reads."""
    read = {
        x.slab
        for call in script.calls
        for x in (call.inputs if isinstance(call, Body) else (call.b,))
        if isinstance(x, Block)
    }
    return [f"state{k}" for k in range(states) if read & {f"prev {k}", f"next {k}"}]


def matrices_of(script: Script) -> list[tuple[int, int, int]]:
    """Operands that are matrices, by number, and how many blocks of H rows and of H columns products see."""
    products = (call for call in script.calls if isinstance(call, Product))
    return list(dict.fromkeys((call.a, *_shape(call)) for call in products))


def _shape(call: Product) -> tuple[int, int]:
    return call.out.stop - call.out.start, call.b.stop - call.b.start


def columns_of(script: Script) -> list[int]:
    """Operands that are columns; a loop takes them spread over the batch, (H, N), so that it stays flat."""
    bodies = (call for call in script.calls if isinstance(call, Body))
    return sorted({x for body in bodies for x in body.inputs if isinstance(x, int)})


def _kernel(call: Body, number: int) -> tuple[str, str, list[str]]:
    """Name and source of a body's loop, and the arrays that it is called with."""
    same = tuple(out == read for out, read in zip(call.outputs, call.inputs, strict=False))
    own = [out for k, out in enumerate(call.outputs) if k >= len(same) or not same[k]]
    passed = [
        _own_rows(x) if isinstance(x, Block) else f"spread{x}[row * N : top * N]"
        for x in (*call.inputs, *own)
    ]
    thin = (numba_kernels.FULL,) * len(call.inputs)
    name = f"body{number}"
    return name, numba_kernels.function(name, call.program, same, thin, numba_kernels.FLAT), passed


def _start(block: Block) -> tuple[str, str]:
    """Array of a block at step t, and where it begins there."""
    slab, _, number = block.slab.partition(" ")
    if slab == "pre":
        return "pre", f"(at * blocks + {block.start}) * B"
    if slab == "saved":
        return "saved", f"(at * saved_blocks + {block.start}) * B"
    if slab in ("prev", "next"):
        return f"state{number}", f"{'before' if slab == 'prev' else 'after'} * B"
    return f"{slab}{number}", f"{block.start} * B"


def _address(block: Block) -> str:
    array, start = _start(block)
    return f"{array}_data + {start} * SIZE"


def _own_rows(block: Block) -> str:
    """Rows ``row .. top - 1`` of a block, as a contiguous vector."""
    array, start = _start(block)
    return f"{array}[{start} + row * N : {start} + top * N]"


def indented(depth: int, lines: list[str]) -> str:
    """The lines as text at some depth."""
    return "\n".join("    " * depth + line for line in lines)
