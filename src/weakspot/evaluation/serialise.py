"""Typed results as JSON and back, from whichever version of weakspot wrote them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import cattrs

from weakspot.utils.files import jsonable

Typed = TypeVar("Typed")

OLD_NAMES = {
    "v2": "max_box_acc_v2",
    "v2_by_defect": "max_box_acc_v2_by_defect",
    "v2_by_size": "max_box_acc_v2_by_size",
    "oracle_v2": "oracle_max_box_acc_v2",
    "oracle_single_v2": "oracle_single_max_box_acc_v2",
    "parts": "groups",
    "other_parts": "other_groups",
    "held_out_of_trained_parts": "held_out_of_trained_groups",
    "identical_across_parts": "identical_across_subsets",
    "second_look": "flip_tta",
}
"""Keys of ``metrics.json`` before version 0.2, and what they are called today."""


BY_CLASS = {
    "per_class", "per_defect", "recall_per_defect", "n_test_per_defect", "v2_by_defect", "max_box_acc_v2_by_defect",
}  # fmt: skip
"""Entries whose keys are names of classes, which a user may have called anything."""


def with_new_names(record: Any, *, keep: bool = False) -> Any:  # noqa: ANN401 - JSON
    """Rename the keys of :data:`OLD_NAMES` in a JSON value, at any depth.

    Args:
        record: content of a ``metrics.json``, or some of it.
        keep: leaves the keys of `record` itself, and renames those below.
    """
    if isinstance(record, Mapping):
        return {
            key if keep else OLD_NAMES.get(key, key): with_new_names(value, keep=key in BY_CLASS and not keep)
            for key, value in record.items()
        }
    return [with_new_names(value) for value in record] if isinstance(record, list) else record


def to_json(value: Any) -> Any:  # noqa: ANN401 - any typed result
    """Turn a typed result, or None, into dictionaries and lists; NaN becomes null."""
    return None if value is None else jsonable(asdict(value))


def structure(record: Any, kind: type[Typed]) -> Typed:  # noqa: ANN401 - JSON
    """Read a typed result from what :func:`to_json` made; keys that the type does not have are ignored.

    Args:
        record: the JSON value.
        kind: the type to make of it.

    Raises:
        cattrs.BaseValidationError: when a key is missing or a value is of another type.
    """
    return _CONVERTER.structure(record, kind)


def _number(value: Any, _: Any) -> float:  # noqa: ANN401 - JSON
    return math.nan if value is None else float(value)


_CONVERTER = cattrs.Converter()

_CONVERTER.register_structure_hook(float, _number)
