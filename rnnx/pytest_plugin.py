"""A pytest fixture that checks gradients: pytest finds it wherever rnnx is installed.

It loads nothing but pytest before a test asks for it.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def gradcheck(record_property: Callable[[str, object], None]) -> Callable[..., Any]:
    """`rnnx.gradcheck`, whose failures fail the test, with what differs, where, and why it may.

    It takes the same arguments and returns the report. The JUnit report (``--junit-xml``) gets the number of
    comparisons and the smallest margin, in digits.

    Examples
    --------
    >>> def test_my_layer(gradcheck):  # doctest: +SKIP
    ...     gradcheck(forward, backward, {"x": x, "W": W})
    """

    def run(*arguments: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        import rnnx

        report = rnnx.gradcheck(*arguments, **options)
        margin = min((row.margin for row in report.gradients), default=0.0)
        record_property("gradcheck", f"{len(report.rows)} comparisons, {len(report.failures)} differ")
        record_property("gradcheck digits", round(margin, 1))
        if not report.passed:
            pytest.fail(str(report), pytrace=False)
        return report

    return run
