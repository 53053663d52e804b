# mypy: disable-error-code="no-untyped-def"
"""The optimisers: each one's state, its update as a pointwise body, and its options."""

from dataclasses import dataclass
from math import inf
from math import sqrt as square_root
from typing import Any, ClassVar, NamedTuple

from rnnx import checks
from rnnx.errors import OptionError
from rnnx.ops import Pointwise, pointwise, sqrt
from rnnx.optim.base import Optimizer
from rnnx.typing import Array


class SGDState(NamedTuple):
    """State of `SGD`; the velocity is empty without momentum."""

    step: int
    velocity: dict[str, Array]


class AdagradState(NamedTuple):
    """State of `Adagrad`: sums of squared gradients."""

    step: int
    total: dict[str, Array]


class RMSpropState(NamedTuple):
    """State of `RMSprop`: running means of squared gradients."""

    step: int
    mean_square: dict[str, Array]


class AdamWState(NamedTuple):
    """State of `AdamW`: running means of gradients and of squared gradients."""

    step: int
    mean: dict[str, Array]
    mean_square: dict[str, Array]


@pointwise
def descend(p, g, rate):
    return p - rate * g


@pointwise
def sgd(p, v, g, rate, momentum):
    v = momentum * v + g
    return p - rate * v, v


@pointwise
def adagrad(p, s, g, rate, eps):
    s = s + g * g
    return p - rate * (g / (sqrt(s) + eps)), s


@pointwise
def rmsprop(p, s, g, rate, decay, rest, eps):
    s = decay * s + rest * (g * g)
    return p - rate * (g / (sqrt(s) + eps)), s


@pointwise
def adamw(p, m, s, g, shrink, rest_m, beta_s, rest_s, rate, eps):
    m = m + rest_m * (g - m)
    s = beta_s * s + rest_s * (g * g)
    return shrink * p - rate * (m / (sqrt(s) + eps)), m, s


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, as torch.optim.SGD.

    ::

        v = momentum v + g
        p = p - learning_rate v

    Parameters
    ----------
    learning_rate : float
        At least 0.
    momentum : float
        In 0 <= momentum < 1; 0 keeps no velocity.
    """

    learning_rate: float
    momentum: float = 0.0

    State: ClassVar[type[SGDState]] = SGDState

    def __post_init__(self) -> None:
        checks.numbers(self, learning_rate=inf, momentum=1.0)

    @property
    def body(self) -> Pointwise:
        return sgd if self.momentum else descend

    @property
    def moments(self) -> int:
        return 1 if self.momentum else 0

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        return (rate, self.momentum) if self.momentum else (rate,)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad, as torch.optim.Adagrad.

    ::

        s = s + g²
        p = p - learning_rate g / (sqrt(s) + eps)

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    JMLR 12 (2011), 2121-2159.

    Parameters
    ----------
    learning_rate : float
        At least 0.
    eps : float
        At least 0.
    """

    learning_rate: float
    eps: float = 1e-10

    State: ClassVar[type[AdagradState]] = AdagradState

    def __post_init__(self) -> None:
        checks.numbers(self, learning_rate=inf, eps=inf)

    @property
    def body(self) -> Pointwise:
        return adagrad

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.eps


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop, as torch.optim.RMSprop, whose `alpha` is `decay` here.

    ::

        s = decay s + (1 - decay) g²
        p = p - learning_rate g / (sqrt(s) + eps)

    Tieleman and Hinton, "Lecture 6.5: rmsprop", COURSERA: Neural networks for machine learning (2012).

    Parameters
    ----------
    learning_rate : float
        At least 0.
    decay : float
        In 0 <= decay < 1.
    eps : float
        At least 0.
    """

    learning_rate: float
    decay: float = 0.99
    eps: float = 1e-8

    State: ClassVar[type[RMSpropState]] = RMSpropState

    def __post_init__(self) -> None:
        checks.numbers(self, learning_rate=inf, decay=1.0, eps=inf)

    @property
    def body(self) -> Pointwise:
        return rmsprop

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.decay, 1.0 - self.decay, self.eps


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay, as torch.optim.AdamW.

    ::

        m = beta1 m + (1 - beta1) g
        s = beta2 s + (1 - beta2) g²
        p = (1 - learning_rate weight_decay) p
            - learning_rate (m / (1 - beta1**step)) / (sqrt(s / (1 - beta2**step)) + eps)

    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR (2019). As in PyTorch, the decay is
    scaled by the learning rate.

    Parameters
    ----------
    learning_rate : float
        At least 0.
    betas : (float, float)
        Each in 0 <= beta < 1.
    eps : float
        At least 0.
    weight_decay : float
        At least 0.
    """

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01

    State: ClassVar[type[AdamWState]] = AdamWState

    def __post_init__(self) -> None:
        checks.numbers(self, learning_rate=inf, eps=inf, weight_decay=inf)
        betas: Any = self.betas
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise OptionError(f"AdamW: betas is {betas!r}; expected two numbers in 0 <= beta < 1.")
        checked = tuple(checks.number("AdamW", f"betas[{k}]", beta, 1.0) for k, beta in enumerate(betas))
        object.__setattr__(self, "betas", checked)

    @property
    def body(self) -> Pointwise:
        return adamw

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        beta1, beta2 = self.betas
        # sqrt(s / c) + eps = (sqrt(s) + eps sqrt(c)) / sqrt(c): one pass over the arrays less.
        root = square_root(1.0 - beta2**step)
        corrected = rate * root / (1.0 - beta1**step)
        shrink = 1.0 - rate * self.weight_decay
        return shrink, 1.0 - beta1, float(beta2), 1.0 - beta2, corrected, self.eps * root
