"""Pages that load nothing from outside: templates, style and scripts in one file, whatever characters names contain."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from weakspot.metrics.intervals import Estimate
from weakspot.postprocess.trust import MEANING
from weakspot.report.crossfit import known
from weakspot.utils.files import jsonable


@cache
def environment() -> Environment:
    """The templates' environment; every value is escaped, since names of folders and files come from elsewhere."""
    made = Environment(
        loader=PackageLoader("weakspot.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "interval": interval, "json": as_json}
    made.globals |= {"inlined": inlined, "meaning": MEANING}
    return made


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Render a template as text."""
    return environment().get_template(template).render(**values)


@cache
def inlined(name: str) -> Markup:
    """Read a style sheet or script of weakspot's, to be put into a page unescaped.

    Raises:
        ValueError: when its text would end the element it is put in.
    """
    text = files("weakspot.report").joinpath("templates", name).read_text(encoding="utf-8")
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} cannot be put into a page")
    return Markup(text)  # noqa: S704 - our own file


def as_json(value: Any) -> Markup:  # noqa: ANN401 - anything that JSON can hold
    """Write data for a ``<script type="application/json">``; no character can end the element or open a comment."""
    text = json.dumps(jsonable(value), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - ASCII without a < in it


def number(value: float | None) -> str:
    """Write a value with three decimals, or a dash where it was not measured."""
    return f"{value:.3f}" if value is not None and known(value) else "–"


def interval(estimate: Estimate | None) -> str:
    """Write an interval as ``low – high``, or nothing where there is none."""
    if not estimate or not known(estimate.low) or not known(estimate.high):
        return ""
    return f"{estimate.low:.3f} – {estimate.high:.3f}"
