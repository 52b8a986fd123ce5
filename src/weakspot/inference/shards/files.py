"""A shard's predictions as a file: JSON lines as ``weakspot predict`` writes them, or Parquet with the same names."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from weakspot.errors import WeakspotError
from weakspot.postprocess.familiarity import MEASURES
from weakspot.postprocess.prediction_files import to_line
from weakspot.types import MODEL_PARTS
from weakspot.utils.untrusted import parse_json

Record = dict[str, Any]
"""A line of ``predictions.jsonl``."""


@dataclass(frozen=True)
class Tally:
    """Counts of what one part, or all parts together, hold.

    Attributes:
        rows: number of pictures.
        labels: how often each class was decided, for the pictures that could be read.
        unreadable: number of pictures that could not be read.
    """

    rows: int
    labels: dict[str, int]
    unreadable: int

    @classmethod
    def of(cls, output: Iterable[tuple[str, str]]) -> Tally:
        """Count ``(status, label)`` pairs."""
        counts = Counter(label if status == "ok" else None for status, label in output)
        unreadable = counts.pop(None, 0)
        labels = {str(label): count for label, count in sorted(counts.items(), key=lambda item: str(item[0]))}
        return cls(sum(labels.values()) + unreadable, labels, unreadable)

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """Add several tallies up."""
        rows = unreadable = 0
        labels: Counter[str] = Counter()
        for tally in tallies:
            rows, unreadable = rows + tally.rows, unreadable + tally.unreadable
            labels.update(tally.labels)
        return cls(rows, dict(sorted(labels.items())), unreadable)


def _to_jsonl(records: Sequence[Record]) -> bytes:
    return "".join(to_line(record) + "\n" for record in records).encode("utf-8", "backslashreplace")


def _tally_jsonl(data: bytes) -> Tally:
    lines = [parse_json(line) for line in data.split(b"\n") if line]
    return Tally.of((line["status"], line["label"]) for line in lines)


def _schema() -> Any:  # noqa: ANN401 - pyarrow, which is not typed
    pa = arrow()
    text, whole, number = pa.string(), pa.int32(), pa.float64()
    box = {
        **dict.fromkeys(("x0", "y0", "x1", "y1"), whole),
        "score": number, "label": text, "outlines": pa.list_(pa.list_(pa.list_(whole))),
        "trust": number, "doubt": text, "level": text, "probability": number,
    }  # fmt: skip
    return pa.schema(
        {
            "path": text, "status": text, "message": text, "height": whole, "width": whole, "target": text,
            "label": text, "classes": pa.list_(pa.struct({"name": text, "confidence": number})),
            "probability": number, "boxes": pa.list_(pa.struct(box)), "familiarity": number,
            "unlike_training": pa.bool_(), "measures": pa.struct(dict.fromkeys(MEASURES, number)),
            "part_log_odds": pa.struct(dict.fromkeys(MODEL_PARTS, number)),
        }
    )  # fmt: skip


def _to_parquet(records: Sequence[Record]) -> bytes:
    import pyarrow.parquet as pq

    # What UTF-8 cannot hold of a file name is spelt out, as in JSON lines.
    plain = [{**record, **{key: _utf8(record[key]) for key in ("path", "message")}} for record in records]
    buffer = io.BytesIO()
    pq.write_table(arrow().Table.from_pylist(plain, schema=_schema()), buffer, compression="zstd")
    return buffer.getvalue()


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _tally_parquet(data: bytes) -> Tally:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data), columns=["status", "label"]).to_pydict()
    return Tally.of(zip(table["status"], table["label"], strict=True))


def arrow() -> Any:  # noqa: ANN401 - a module
    """The module ``pyarrow``.

    Raises:
        WeakspotError: when it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise WeakspotError("--format parquet needs pyarrow; pip install 'weakspot[ray]'") from error
    return pyarrow


@dataclass(frozen=True)
class PartFormat:
    """How a shard's file is written.

    Attributes:
        write: records to a file's content.
        tally: what a file's content holds.
    """

    write: Callable[[Sequence[Record]], bytes]
    tally: Callable[[bytes], Tally]


FORMATS = {"jsonl": PartFormat(_to_jsonl, _tally_jsonl), "parquet": PartFormat(_to_parquet, _tally_parquet)}
"""Formats of shards' files by the suffix of their files."""
