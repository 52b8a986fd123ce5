"""Near-duplicates as imagededup and cleanvision find them; runs in an environment of its own, without weakspot.

Usage:  python benchmarks/near_duplicates_peers.py FOLDER
Prints JSON: for each tool the pairs of file names, relative to FOLDER, or a text that says why there are none.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

SUFFIXES = {".png", ".jpg"}


def _hashed(name: str) -> Callable[[Path], list[list[str]]]:
    def find(folder: Path) -> list[list[str]]:
        import imagededup.methods as methods  # type: ignore[import-not-found]  # of the other environment

        found = getattr(methods, name)(verbose=False).find_duplicates(image_dir=str(folder))
        return [[a, b] for a, others in found.items() for b in others if a < b]

    return find


def _cleanvision(folder: Path) -> list[list[str]]:
    from cleanvision import Imagelab  # type: ignore[import-not-found]  # of the other environment

    lab: Any = Imagelab(data_path=str(folder))
    lab.find_issues({"near_duplicates": {}, "exact_duplicates": {}}, verbose=False, n_jobs=1)
    sets = [one for kind in ("near_duplicates", "exact_duplicates") for one in lab.info[kind]["sets"]]
    return [sorted((Path(a).name, Path(b).name)) for one in sets for a, b in combinations(one, 2)]


TOOLS: dict[str, Callable[[Path], list[list[str]]]] = {
    "imagededup PHash": _hashed("PHash"),
    "imagededup DHash": _hashed("DHash"),
    "cleanvision": _cleanvision,
}


def main(folder: Path) -> None:
    """Ask every tool, with its own defaults."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        flat = Path(name)  # the tools look into one folder, not below it
        names = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix in SUFFIXES and "ground_truth" not in path.parts:
                names[path.name] = str(path.relative_to(folder))
                shutil.copy(path, flat / path.name)
        for tool, find in TOOLS.items():
            try:
                found[tool] = [[names[a], names[b]] for a, b in find(flat)]
            except Exception as error:
                found[tool] = f"{type(error).__name__}: {error}"
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
