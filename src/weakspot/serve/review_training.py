"""Train again with what was corrected, as a process of its own: its progress, its end, and how it is called off.

All of its state is in files, so that it goes on when the page's own process ends, and is found again.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from weakspot.errors import WeakspotError
from weakspot.utils.files import atomic_path, write_json
from weakspot.utils.untrusted import read_json

JOB, LOG, DONE, PAGE, ANNOTATIONS = "job.json", "job.log", "done.json", "compare.html", "annotations.json"
LOG_TAIL = 16 * 2**10
"""Bytes of the log that are looked at."""

PATIENCE = 10.0
"""Seconds that a training has to end by itself after it was called off."""

_STEP = re.compile(r"^(?P<what>.+): (?P<done>\d+) of (?P<total>\d+) \(\d+ %\)(?:, about (?P<left>.+))?$")
TrainingState = Literal["none", "running", "done", "failed", "cancelled"]
Command = Callable[[Path, Path], Sequence[str]]
"""From the annotation file and the folder for results to the command line."""


@dataclass(frozen=True)
class TrainingStatus:
    """How far a training is.

    Attributes:
        state: ``none`` before the first one.
        name: of its folder.
        what: what it does now, in its own words.
        done, total: steps of that; 0 where they are not known.
        left: time left, in words, such as ``1 min left; about 6 min until the report``.
        lines: the last lines that it wrote.
        result: what ``done.json`` holds.
        seconds: since it began, while it runs.
        page: address of the comparison, for :meth:`Trainings.file`, once it is done.
    """

    state: TrainingState = "none"
    name: str = ""
    what: str = ""
    done: int = 0
    total: int = 0
    left: str = ""
    lines: Sequence[str] = ()
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    page: str = ""


def retrain_command(run: Path) -> Command:
    """The command line that trains a run again: ``weakspot review RUN --retrain FOLDER``.

    Args:
        run: its folder.
    """

    def command(annotations: Path, folder: Path) -> Sequence[str]:
        words = ["review", str(run), "--output", str(annotations), "--retrain", str(folder)]
        return [sys.executable, "-m", "weakspot", *words]

    return command


class Trainings:
    """The trainings of one review, of which one at most runs.

    Args:
        folder: of all of them; each has a folder there that is named by the annotations that it learns from.
        command: what is started.
        pictures: the test pictures, which comparisons link to.
    """

    def __init__(self, folder: Path, command: Command, pictures: Sequence[Path] = ()) -> None:
        self.folder, self._command = folder, command
        self._pictures = {_address(path): path for path in pictures}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, annotations: bytes) -> TrainingStatus:
        """Start a training, or go on with the one of the same annotations that was interrupted.

        Args:
            annotations: content of the COCO file to learn from; it is copied, and later corrections do not reach it.

        Raises:
            WeakspotError: when one runs already.
            OSError: when it cannot be started.
        """
        with self._lock:
            if self.status().state == "running":
                raise WeakspotError("a training runs already; wait for its end, or cancel it")
            folder = self.folder / hashlib.sha256(annotations).hexdigest()[:12]
            folder.mkdir(parents=True, exist_ok=True)
            copy = folder / ANNOTATIONS
            if not copy.is_file():
                with atomic_path(copy) as temporary:
                    temporary.write_bytes(annotations)
            (folder / DONE).unlink(missing_ok=True)
            with (folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own command
                    list(self._command(copy, folder)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C in the terminal ends the page, and not the training
                    env={**os.environ, "COLUMNS": "200"},
                )
            job = {"process": self._process.pid, "born": _born(self._process.pid), "started": time.time()}
            write_json(folder / JOB, job)
        return self.status()

    def cancel(self) -> TrainingStatus:
        """Call the running training off; what it has done so far is kept, and the same one goes on from there."""
        with self._lock:
            folder = self._latest()
            if folder is None or self.status().state != "running":
                return self.status()
            job = _read(folder / JOB)
            write_json(folder / JOB, {**job, "cancelled": True})
            _stop(int(job["process"]), lambda: not self._alive(job))
        return self.status()

    def status(self) -> TrainingStatus:
        """How far the latest training is."""
        folder = self._latest()
        if folder is None:
            return TrainingStatus()
        job, lines = _read(folder / JOB), _tail(folder / LOG)
        common: dict[str, Any] = {"name": folder.name, "lines": lines[-12:]}
        if self._alive(job):
            step = next((found for line in reversed(lines) if (found := _STEP.match(line))), None)
            if step is not None and lines and step[0] == lines[-1]:
                common |= {"what": step["what"], "done": int(step["done"]), "total": int(step["total"])}
                common["left"] = step["left"] or ""
            else:
                common["what"] = lines[-1] if lines else "starting"
            return TrainingStatus("running", seconds=time.time() - float(job.get("started") or 0), **common)
        if (folder / DONE).is_file():
            page = quote(os.fsencode(_address(folder / PAGE)))
            return TrainingStatus("done", result=_read(folder / DONE), page=page, **common)
        if job.get("cancelled"):
            return TrainingStatus("cancelled", **common)
        return TrainingStatus("failed", what=_reason(lines), **common)

    def file(self, address: str) -> Path | None:
        """A comparison, a thumbnail beside it or a test picture; None where it is no file, and for every other file.

        Args:
            address: the whole path with forward slashes, but for the first one: links from a comparison to pictures,
                which are relative, lead to the same files as on disk.
        """
        own = re.escape(f"{_address(self.folder)}/") + rf"(?P<name>[0-9a-f]{{12}}/({PAGE}|compare_files/\d+\.jpg))"
        found = re.fullmatch(own, address)
        path = self._pictures.get(address) if found is None else self.folder / found["name"]
        return path if path is not None and path.is_file() else None

    def _latest(self) -> Path | None:
        jobs = list(self.folder.glob(f"*/{JOB}"))
        started = [(float(_read(job).get("started") or 0), job.parent) for job in jobs]
        return max(started, default=(0.0, None))[1]

    def _alive(self, job: dict[str, Any]) -> bool:
        if self._process is not None and self._process.pid == job.get("process"):
            return self._process.poll() is None
        born = _born(int(job.get("process") or 0))
        return born is not None and born == job.get("born")


def _address(path: Path) -> str:
    """The whole path as :meth:`Trainings.file` takes it; links are left unresolved, as in the comparison."""
    return Path(os.path.abspath(path)).as_posix().lstrip("/")  # noqa: PTH100 - Path.resolve would follow links


def _born(process: int) -> str | None:
    """When a process began, which tells it from a later one of the same number; None where there is none."""
    if process <= 0:
        return None
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self").exists():
        return None
    try:  # not Linux
        os.kill(process, 0)
    except OSError:
        return None
    return "unknown"


def _stop(process: int, ended: Callable[[], bool]) -> None:
    """As Ctrl-C does; after a while by force."""
    for number in (signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGTERM)):
        try:
            if hasattr(os, "killpg"):
                os.killpg(process, number)
            else:
                os.kill(process, number)
        except ProcessLookupError:
            return
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if ended():
                return
            time.sleep(0.05)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]


def _reason(lines: Sequence[str]) -> str:
    errors = [line for line in lines if line.startswith("error:")]
    return errors[-1] if errors else (lines[-1] if lines else "it ended without a word")
