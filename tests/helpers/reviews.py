"""What ``weakspot review`` works on, without a model: what it would say is made up from masks."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import uvicorn
from PIL import Image

from weakspot.serve.review_app import HeatMaps, ReviewSession, make_review_app
from weakspot.serve.review_store import QueuedPicture, ReviewStore
from weakspot.serve.review_training import Trainings
from weakspot.types import Box

SIZE = (96, 128)
WHY = {
    "good": "labelled good, and the model says anomaly: one of the two is wrong (probability of a defect 0.80)",
    "anomaly": "its class is a close call (probability of a defect 0.80)",
}
CLASSES = ("good", "anomaly")


def make_pictures(folder: Path, names: Sequence[str], size: tuple[int, int] = SIZE) -> list[Path]:
    """Textured pictures, each with a dark spot in another place; see :func:`spot`."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, name in enumerate(names):
        image = np.clip(rng.normal(150, 12, (*size, 3)), 0, 255).astype(np.uint8)
        x0, y0, x1, y1 = spot(i, size)
        cv2.ellipse(
            image, ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2), 0, 0, 360, (60, 50, 45), -1
        )
        path = folder / name
        Image.fromarray(image).save(path, format="PNG")
        paths.append(path)
    return paths


def spot(i: int, size: tuple[int, int] = SIZE) -> tuple[int, int, int, int]:
    """Where the i-th picture's defect is."""
    height, width = size
    x, y = 10 + (17 * i) % (width // 2), 8 + (11 * i) % (height // 2)
    return x, y, x + width // 6, y + height // 6


def queued(paths: Sequence[Path], root: Path, size: tuple[int, int] = SIZE) -> list[QueuedPicture]:
    """Every third picture is labelled Good; the model draws a box that is right in two of three."""
    pictures = []
    for i, path in enumerate(paths):
        x0, y0, x1, y1 = spot(i, size)
        shift = size[1] // 3 if i % 3 == 1 else 2
        left, right = min(x0 + shift, size[1] - 4), min(x1 + shift, size[1])
        found = Box(left, y0, right, y1, score=1.5, trust=0.6, level="amber", doubt="a guess")
        given = "good" if i % 3 == 2 else "anomaly"
        name = path.relative_to(root).as_posix()
        pictures.append(QueuedPicture(name, path, size, given, "anomaly", 0.8, (found,), WHY[given], "train"))
    return pictures


def make_session(
    root: Path,
    names: Sequence[str],
    *,
    classes: Sequence[str] = CLASSES,
    size: tuple[int, int] = SIZE,
    command: Callable[[Path, Path], Sequence[str]] | None = None,
    file: Path | None = None,
) -> ReviewSession:
    """A session over new pictures in ``root/photos``, with its file in ``root/review``."""
    pictures = queued(make_pictures(root / "photos", names, size), root, size)
    values = np.zeros((len(pictures), 96, 96), np.uint8)
    for i, picture in enumerate(pictures):
        x0, y0, x1, y1 = picture.boxes[0].xyxy
        values[i, y0 * 96 // size[0] : y1 * 96 // size[0] + 1, x0 * 96 // size[1] : x1 * 96 // size[1] + 1] = 255
        values[i] = cv2.GaussianBlur(values[i], (0, 0), 5)
    ranges = np.tile(np.array([0.0, 1.0], np.float32), (len(pictures), 1))
    store = ReviewStore(file or root / "review" / "annotations.json", pictures, classes)
    trainings = None if command is None else Trainings(root / "review" / "trainings", command)
    maps = HeatMaps(values, ranges, (0.0, 1.0))
    return ReviewSession("photos", store, maps, trainings, "" if trainings else "nothing can be trained in this test")


@contextlib.contextmanager
def served(session: ReviewSession, port: int = 0) -> Iterator[str]:
    """The page over HTTP, in a thread; gives its address."""
    config = uvicorn.Config(
        make_review_app(session, hosts=["127.0.0.1"]), host="127.0.0.1", port=port, log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def serve_fork(session: ReviewSession, port_file: Path) -> None:
    """The page in this process, for ever; its port is written into a file."""
    config = uvicorn.Config(make_review_app(session, hosts=["127.0.0.1"]), host="127.0.0.1", port=0, log_level="error")
    listening = config.bind_socket()
    listening.listen()
    temporary = port_file.with_suffix(f".{os.getpid()}")
    temporary.write_text(str(listening.getsockname()[1]))
    temporary.replace(port_file)
    uvicorn.Server(config).run(sockets=[listening])
