"""A picture of a gradient check: errors over time and gates, and the error of a quotient over its step."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rnnx.errors import OptionError
from rnnx.gradient_check.diagnosis import Diagnosis

LEAST = 1e-17
"""Errors below it, and none at all, are drawn as this one."""


def draw_diagnoses(diagnoses: Sequence[Diagnosis], kind: str) -> bytes:
    """Draw one row of two pictures for each problem.

    Parameters
    ----------
    diagnoses : sequence of Diagnosis
    kind : str
        ``"png"``, ``"svg"`` or ``"pdf"``.

    Returns
    -------
    bytes
        Of the file.

    Raises
    ------
    OptionError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionError("A plot needs matplotlib.", 'Run: pip install "rnnx[plot]".') from error
    heights = [max(2.8, 0.8 + 0.2 * len(each.parts)) for each in diagnoses]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    axes = figure.subplots(len(diagnoses), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (left, right), diagnosis in zip(axes, diagnoses, strict=True):
        _map(figure, left, diagnosis)
        _curve(right, diagnosis)
    file = BytesIO()
    figure.savefig(file, format=kind, dpi=120)
    return file.getvalue()


def _map(figure: Any, axes: Any, diagnosis: Diagnosis) -> None:
    logarithms = np.log10(np.clip(np.nan_to_num(diagnosis.errors, nan=np.inf), LEAST, 10.0))
    image = axes.imshow(logarithms, vmin=-17, vmax=0, cmap="inferno", aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(diagnosis.upstream)), diagnosis.upstream, rotation=90, fontsize=7)
    axes.set_yticks(range(len(diagnosis.parts)), diagnosis.parts, fontsize=7)
    axes.set_xlabel("the only output with an upstream gradient")
    axes.set_title(diagnosis.title)
    figure.colorbar(image, ax=axes, label="log10 of the relative error")


def _curve(axes: Any, diagnosis: Diagnosis) -> None:
    axes.loglog(diagnosis.steps, np.maximum(diagnosis.curve, LEAST), ".-")
    axes.set_ylim(1e-16, 10.0)
    axes.set_xlabel("step of the difference quotient")
    axes.set_ylabel("relative error")
    axes.set_title(f"{diagnosis.tensor} along a direction")
    axes.grid(alpha=0.3)
