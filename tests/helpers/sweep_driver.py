"""The command line on the tiny backbone, in a process of its own that counts what it does and dies when told to.

``COUNTS`` names a file that gets a line for each thing done; ``KILL=<thing>:<n>`` ends the process with SIGKILL at its
n-th time. Things: ``stem`` (an image through the frozen layers), ``store`` (a cache file, half written), ``epoch``,
``fit`` (a finished one), ``results`` (of a cell).
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs this file by itself

from helpers.backbones import tiny_backbone
from weakspot.cli import main as cli
from weakspot.commands import train as pipeline
from weakspot.models import backbones
from weakspot.models import feature_cache as features
from weakspot.training import lightning_fit as fit
from weakspot.training import stages

KILL, _, AT = os.environ.get("KILL", "never:0").partition(":")
done: Counter[str] = Counter()


def did(thing: str, times: int = 1) -> None:
    done[thing] += times
    with Path(os.environ["COUNTS"]).open("a") as file:
        file.write(f"{thing}\n" * times)
    if thing == KILL and done[thing] >= int(AT):
        os.kill(os.getpid(), signal.SIGKILL)


def counting(module: Any, name: str, thing: str, times: Callable[..., int] = lambda *_: 1) -> None:
    original = getattr(module, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        did(thing, times(*args))
        return result

    setattr(module, name, wrapper)


def store_half(self: features.FeatureCache, key: str, array: Any) -> None:
    if KILL == "store" and done["store"] + 1 == int(AT):
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / ".half.npy").write_bytes(b"\x93NUMPY half")
    did("store")
    store(self, key, array)


backbones.BACKBONES["tiny"] = tiny_backbone
store = features.FeatureCache.store
features.FeatureCache.store = store_half  # type: ignore[method-assign]
counting(features, "_forward", "stem", lambda network, pixels, *_: len(pixels))
counting(fit.History, "on_train_epoch_end", "epoch")
counting(stages, "fit", "fit")
counting(pipeline, "write_results", "results")

if __name__ == "__main__":
    cli.main()
