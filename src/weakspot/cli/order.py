"""The order in which ``weakspot --help`` lists the verbs."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

ORDER = (
    "demo", "check", "train", "predict", "review", "explain", "export", "evaluate", "compare", "summarize", "serve",
    "watch", "drift", "audit", "roi", "split", "summary", "cache", "report",
)  # fmt: skip
"""The verbs as a user meets them; one that is not named here comes last."""


class InOrder(TyperGroup):
    """Lists the verbs in their order, whatever was registered first."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The verbs by name."""
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
