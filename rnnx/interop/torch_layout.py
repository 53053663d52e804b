"""Names and shapes of the parameters of torch.nn.RNN, LSTM and GRU, as a state_dict of torch has them.

    weight_ih_l{k} (G*H, D), above the first layer (G*H, directions*H)
    weight_hh_l{k} (G*H, H)
    bias_ih_l{k}, bias_hh_l{k} (G*H,)            absent with bias=False

The names of the reverse direction end in ``_reverse``. The G gate blocks are rows, in the order h, i f g o or
r z n. Read in the documentation of torch.nn.RNN, LSTM and GRU.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

BLOCKS = {"rnn": 1, "lstm": 4, "gru": 3}
"""G by kind."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """A recurrent module of torch, but for its weights.

    Attributes
    ----------
    kind : {"rnn", "lstm", "gru"}
    input_size, hidden_size : int
        D and H.
    num_layers, bidirectional, bias, nonlinearity, dropout
        As torch's options of these names.
    """

    kind: str
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    nonlinearity: str = "tanh"
    dropout: float = 0.0

    @property
    def options(self) -> dict[str, object]:
        """The options of torch's class."""
        names = ["input_size", "hidden_size", "num_layers", "bidirectional", "bias", "dropout"]
        return {name: getattr(self, name) for name in names + ["nonlinearity"] * (self.kind == "rnn")}

    @property
    def suffixes(self) -> list[str]:
        """Ends of the names: layer by layer, in each the forward direction first."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [f"_l{k}{end}" for k in range(self.num_layers) for end in ends]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
        H, rows = self.hidden_size, BLOCKS[self.kind] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix in self.suffixes:
            below = self.input_size if suffix in ("_l0", "_l0_reverse") else (1 + self.bidirectional) * H
            shapes |= {"weight_ih" + suffix: (rows, below), "weight_hh" + suffix: (rows, H)}
            if self.bias:
                shapes |= {"bias_ih" + suffix: (rows,), "bias_hh" + suffix: (rows,)}
        return shapes

    def mismatch(self, found: Shapes) -> str:
        """How these names and shapes differ from the expected ones; empty if they do not."""
        expected = self.shapes
        missing, foreign = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        if missing or foreign:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing)
            parts += [f"holds {', '.join(foreign)} besides"] * bool(foreign)
            return " and ".join(parts)
        for name, shape in expected.items():
            if tuple(found[name]) != shape:
                return f"holds {name} of shape {tuple(found[name])}, where {shape} is expected"
        return ""


def infer(found: Shapes) -> Layout | str:
    """The layout that the names and shapes tell, without nonlinearity and dropout; or why they tell none."""
    if "weight_hr_l0" in found:
        return "holds weight_hr_l0, a projection of h, which is not supported"
    for name in ("weight_ih_l0", "weight_hh_l0"):
        if name not in found:
            return f"lacks {name}"
        if len(found[name]) != 2 or 0 in found[name]:
            return f"holds {name} of shape {tuple(found[name])}, where a matrix is expected"
    rows, H = found["weight_hh_l0"]
    kind = next((kind for kind, blocks in BLOCKS.items() if rows == blocks * H), None)
    if kind is None:
        return f"holds weight_hh_l0 of shape {(rows, H)}, where (H, H), (3H, H) or (4H, H) is expected"
    layout = Layout(
        kind,
        input_size=found["weight_ih_l0"][1],
        hidden_size=H,
        num_layers=sum(re.fullmatch(r"weight_hh_l\d+", name) is not None for name in found),
        bidirectional="weight_hh_l0_reverse" in found,
        bias="bias_ih_l0" in found,
    )
    return layout.mismatch(found) or layout
