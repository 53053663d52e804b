"""The lines of a time loop's source that make up one step, from its script."""

from rnnx.backends import numba_kernels
from rnnx.backends.meeting import BEGINNING, meetings
from rnnx.typing import Block, Body, Product, Script


def packed(script: Script) -> dict[str, tuple[str, str]]:
    """Matrices that a loop packs, one after the other: the blocks of H rows, and the columns, of each."""
    found = {f"packed{k}": (str(rows), f"{inner} * H") for k, rows, inner in matrices_of(script)}
    return found if is_backward(script) else found | {"packed_x": ("blocks", "(D + 1)")}


def setup(script: Script) -> list[str]:
    """What a thread does before the first step: it packs its own rows of the matrices."""
    lines = ["if fresh and N > 1:"]
    own = "H, first, last"
    for k, blocks, inner in matrices_of(script):
        matrix = f"matrix{k}_data, matrix{k}_0, matrix{k}_1"
        lines.append(
            f"    call(pack, {matrix}, packed{k}_data, {blocks}, {own}, {inner} * H, 0, {inner} * H)"
        )
    if not is_backward(script):
        lines += [
            f"    call(pack, Wx_data, Wx_1, Wx_0, packed_x_data, blocks, {own}, D + 1, 0, D)",
            f"    call(pack, bias_data, bias_0, 0, packed_x_data, blocks, {own}, D + 1, D, D + 1)",
            "many = ROWS if N == 1 else 1",  # steps that are projected together
            "width = many * N",
            "beside = x_0 if N == 1 else x_1",
            "share, share_end = D * rank // team, D * (rank + 1) // team",
            "if rank == 0:",
            "    for n in range(width):",  # the input of the bias
            "        turned[D * width + n] = ONE",
            "        turned[(D + 1 + D) * width + n] = ONE",
            _turn("0"),
        ]
    return lines


def step(script: Script) -> tuple[list[str], list[str]]:
    """Loops of the bodies, and the lines of one step."""
    kernels: list[str] = []
    body: list[str] = []
    waits = meetings(script, is_backward(script))

    def wait(number: int) -> None:
        if number in waits:
            body.extend(["if team > 1:", "    met += team", "    meet(counter, met, idle)"])

    wait(BEGINNING)
    if is_backward(script):
        body += ["if dy_size:", "    call(turn, dy_data + t * dy_0, dy_1, dy_2, d0_data, low, high, N, N, 1)"]
    else:
        target = "pre_data + at * blocks * B * SIZE"
        weights = "Wx_data, Wx_0 // SIZE, bias_data, bias_0"
        own = "blocks, H, low, high"
        body += [
            "if t % many == 0:",
            f"    here = {_turned('t')}",
            "    if N == 1:",
            f"        call(project, here, min(many, steps - t), D, {weights}, {own}, {target})",
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
                f"    call(multiply_one, {matrix}, {blocks}, H, low, high, {', '.join(ends)})",
                "else:",
                f"    call(multiply, packed{call.a}_data, {blocks}, H, first, last, {', N, '.join(ends)})",
            ]
        else:
            name, text, passed = _kernel(call, number)
            kernels.append(text)
            body.append(f"{name}({', '.join(passed)})")
    if not is_backward(script):
        outputs = "state0_data + after * B * SIZE, y_data + t * y_0, y_1, y_2"
        body += ["if y_size:", f"    call(turn_back, {outputs}, low, high, N)"]
        body += ["if (t + 1) % many == 0 and t + 1 < steps:", "    " + _turn("t + 1")]
    return kernels, body


def _turned(step: str) -> str:
    """Address of the turned input that is projected from a step on: two take turns in memory."""
    return f"turned_data + (({step}) // many & 1) * (D + 1) * width * SIZE"


def _turn(step: str) -> str:
    """Line that turns a thread's share of that input."""
    x, columns = f"x_data + ({step}) * x_0, beside, x_2", f"min(width, (steps - ({step})) * N), width"
    return f"call(turn, {x}, {_turned(step)}, share, share_end, {columns}, 0)"


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


def is_backward(script: Script) -> bool:
    """Whether its loop runs from the last step to the first."""
    return script.name.endswith("_backward")


def _kernel(call: Body, number: int) -> tuple[str, str, list[str]]:
    """Name and source of a body's loop, and the arrays that it is called with."""
    same = tuple(out == read for out, read in zip(call.outputs, call.inputs, strict=False))
    own = [out for k, out in enumerate(call.outputs) if k >= len(same) or not same[k]]
    passed = [
        _own_rows(x) if isinstance(x, Block) else f"spread{x}[low * N : high * N]"
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
    """The rows of a block that a thread computes, as a contiguous vector."""
    array, start = _start(block)
    return f"{array}[{start} + low * N : {start} + high * N]"


def indented(depth: int, lines: list[str]) -> str:
    """The lines as text at some depth."""
    return "\n".join("    " * depth + line for line in lines)
