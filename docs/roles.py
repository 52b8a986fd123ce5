"""For the API reference: our docstrings' roles, such as :class:`Box`, as the code that they stand for."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")


class Roles(Extension):
    """Replaces roles by code, with the last part of the name where it is a long one."""

    def on_object(self, *, obj: Object, **_: Any) -> None:  # noqa: ANN401
        """Called for every object that was read."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", obj.docstring.value)
