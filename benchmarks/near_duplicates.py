"""Same part or same product: precision and recall of near-duplicates on generated products and on magnetic_tile.

    python benchmarks/near_duplicates.py --data ../shared/data/magnetic_tile --folder outputs/near_duplicates

Beside weakspot it asks imagededup and cleanvision, each with its own defaults, if their environment is given:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install imagededup cleanvision
    python benchmarks/near_duplicates.py --peers /tmp/peers/bin/python …

The generated products (bolt, plate, turned part, matte part) lie on a mat that does not move. All parts of a product
have the same shape; each has a surface of its own (grain, scratches). They lie in a random pose or in a fixture. Some
were photographed again (light, 3° of turn, 8 pixels, 3 % of scale, crop, fresh noise, JPEG), some files were edited
(exposure, 2° or 4 % or a shift, JPEG). What was measured is kept in ``--folder``, so an interrupted run goes on.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import typer
from common import OutputOption, report, say, table

from weakspot.data.images import inspect_images, list_images
from weakspot.data.near_duplicates import NearDuplicates, find_near_duplicates

Float = npt.NDArray[np.float32]
Rng = np.random.Generator
Pair = tuple[str, str]
Pose = tuple[float, float, float, float]

SIDE, PHOTO = 512, 448
"""Side of a scene, and of a photograph of it, in pixels."""

Y, X = (axis.astype(np.float32) - SIDE / 2 for axis in np.mgrid[:SIDE, :SIDE])


# --- products -----------------------------------------------------------------------------------------------------


def _grain(rng: Rng, sigma_x: float, sigma_y: float = 0) -> Float:
    noise = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE), np.float32), (0, 0), sigma_x, sigmaY=sigma_y)
    return np.asarray(noise / noise.std(), np.float32)


def _solid(inside: Float, width: float = 1) -> Float:
    return np.asarray(np.clip(inside / width + 0.5, 0, 1), np.float32)


def _scratches(rng: Rng, count: int) -> Float:
    canvas = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(count):
        start, turn, length = rng.uniform(SIDE * 0.15, SIDE * 0.85, 2), rng.uniform(0, 6.3), rng.uniform(8, 60)
        end = start + length * np.array([np.cos(turn), np.sin(turn)])
        one = np.zeros((SIDE, SIDE), np.uint8)
        cv2.line(one, [int(v) for v in start], [int(v) for v in end], 255, 1, cv2.LINE_AA)
        canvas += one.astype(np.float32) * np.float32(rng.uniform(-1, 1) / 255)
    return cv2.GaussianBlur(canvas, (0, 0), 0.7).astype(np.float32)


def _bolt(rng: Rng, contrast: float) -> tuple[Float, Float]:
    turns = X * 0.07 + Y * 0.012
    head = _solid(np.minimum(np.minimum(X + 190, -120 - X), 70 - np.abs(Y)))
    core = np.where(X > -40, 38 + 6 * np.abs(turns % 1 - 0.5), 36)
    shaft = _solid(np.minimum(np.minimum(X + 125, 195 - X), core - np.abs(Y)))
    bulge = np.sqrt(np.clip(1 - (Y / np.where(shaft > head, 44, 74)) ** 2, 0, 1))
    thread = np.where((shaft > 0.5) & (X > -40), np.sin(2 * np.pi * turns), 0)
    own = contrast * (_grain(rng, 1.2) + 0.6 * _grain(rng, 6, 1) + 4 * _scratches(rng, 10))
    return 110 + 70 * bulge + 35 * thread + own, np.maximum(head, shaft)


def _plate(rng: Rng, contrast: float) -> tuple[Float, Float]:
    inside = np.minimum(200 - np.abs(X), 130 - np.abs(Y))
    for x in (-140, 0, 140):
        for y in (-80, 80):
            inside = np.minimum(inside, np.hypot(X - x, Y - y) - 26)
    own = contrast * (_grain(rng, 12, 0.9) + 0.7 * _grain(rng, 1) + 4 * _scratches(rng, 14))
    return 150 + 0.06 * X - 10 * _solid(6 - inside, 6) + own, _solid(inside)


def _turned(rng: Rng, contrast: float) -> tuple[Float, Float]:
    radius, angle = np.hypot(X, Y), np.arctan2(Y, X)
    shared, own_rings = (
        np.interp(radius, np.arange(400), cv2.GaussianBlur(r.standard_normal((1, 400), np.float32), (0, 0), 1.2)[0])
        for r in (np.random.default_rng(7), rng)
    )
    marks = np.where(np.abs(radius - 110) < 8, -40, 0) + np.where(np.hypot(X - 110, Y) < 14, -60, 0)
    own = contrast * (1.5 * own_rings + _grain(rng, 1.1) + 4 * _scratches(rng, 10))
    tone = 140 + 30 * shared + 18 * np.cos(2 * (angle - 0.6)) + marks + own
    return tone, _solid(np.minimum(190 - radius, radius - 45))


def _matte(rng: Rng, contrast: float) -> tuple[Float, Float]:
    inside = 150 - np.maximum(np.maximum(np.abs(X) * 0.8, np.abs(Y) * 1.2), np.abs(X) * 0.6 + np.abs(Y) * 0.8)
    print_ = np.zeros((SIDE, SIDE), np.uint8)
    cv2.putText(print_, "WS 42", (170, 275), cv2.FONT_HERSHEY_DUPLEX, 1.8, 255, 6, cv2.LINE_AA)
    own = contrast * (0.5 * _grain(rng, 1) + 0.5 * _grain(rng, 3) + 2 * _scratches(rng, 3))
    return 90 + 25 * _solid(inside - 14, 8) - print_ * (30 / 255) + 0.05 * Y + own, _solid(inside)


PRODUCTS: dict[str, Callable[[Rng, float], tuple[Float, Float]]] = {
    "bolt": _bolt,
    "plate": _plate,
    "turned": _turned,
    "matte": _matte,
}


def _photograph(part: tuple[Float, Float], pose: Pose, light: npt.NDArray[np.float64], mat: Float) -> Float:
    """A part on the mat, 0…255, ``(PHOTO, PHOTO)``, without noise."""
    turn, right, down, scale = pose
    model = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, scale * PHOTO / SIDE * 0.95)
    model[:, 2] += (right + (PHOTO - SIDE) / 2, down + (PHOTO - SIDE) / 2)  # type: ignore[arg-type]
    tone = cv2.warpAffine(part[0].astype(np.float32), model, (PHOTO, PHOTO), borderMode=cv2.BORDER_REFLECT)
    solid = cv2.warpAffine(part[1], model, (PHOTO, PHOTO))
    shadow = cv2.GaussianBlur(np.roll(solid, (6, 5), (0, 1)), (0, 0), 5)
    y, x = np.mgrid[:PHOTO, :PHOTO] / PHOTO - 0.5
    scene = mat[:PHOTO, :PHOTO] * (1 - 0.5 * shadow) * (1 - solid) + tone * solid
    return np.asarray(scene * (1 + light[0] * x + light[1] * y), np.float32)


def _expose(scene: Float, rng: Rng, gain: float) -> npt.NDArray[np.uint8]:
    value = np.clip(scene * gain, 0, 255)
    noisy = value + 2 * rng.standard_normal(scene.shape) * np.sqrt(0.4 + value / 160)
    return np.asarray(np.clip(noisy, 0, 255).round(), np.uint8)


def _edited(picture: npt.NDArray[np.uint8], rng: Rng, kind: int) -> npt.NDArray[np.uint8]:
    """The same file turned, scaled or only shifted, under another exposure."""
    turn, scale = rng.uniform(-2, 2) if kind == 0 else 0, 1 + (rng.uniform(-0.04, 0.04) if kind == 1 else 0)
    model = cv2.getRotationMatrix2D((PHOTO / 2, PHOTO / 2), turn, scale)
    model[:, 2] += tuple(rng.uniform(-6, 6, 2))
    there = cv2.warpAffine(picture, model, (PHOTO, PHOTO), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(there * rng.uniform(0.75, 1.2), 0, 255), np.uint8)


def generate(folder: Path, product: str, fixture: bool, parts: int, contrast: float = 4) -> None:
    """Photograph `parts` parts; a quarter of them twice, and of another quarter an edited file.

    Args:
        folder: to write to; a file's name begins with the number of the part.
        product: a name in :data:`PRODUCTS`.
        fixture: whether all lie in the same pose.
        parts: how many.
        contrast: of the individual surface, in grey levels; 0.5 is less than the noise.
    """
    folder.mkdir(parents=True)
    seed = list(PRODUCTS).index(product)
    mat_rng = np.random.default_rng([seed, 99])
    mat = 55 + 3 * _grain(mat_rng, 1) + 3 * _grain(mat_rng, 9)
    for k in range(parts):
        rng = np.random.default_rng([seed, k, int(fixture)])
        part, light = PRODUCTS[product](rng, contrast), rng.normal(0, 0.05, 2)
        right, down = rng.normal(0, 1.2, 2) if fixture else rng.uniform(-20, 20, 2)
        turn = rng.normal(0, 0.3) if fixture else rng.uniform(0, 360)
        first = _expose(_photograph(part, (turn, right, down, 1), light, mat), rng, rng.uniform(0.9, 1.1))
        cv2.imwrite(str(folder / f"{k:03d}_first.png"), first)
        if k < parts // 4:
            much = 1 if k % 2 else 0.3
            t, r, d, s = (much * rng.uniform(-most, most) for most in (3, 8, 8, 0.03))
            scene = _photograph(part, (turn + t, right + r, down + d, 1 + s), light + rng.normal(0, 0.05, 2), mat)
            top, bottom, left, side = rng.integers(0, 16, 4).tolist()
            again = _expose(scene, rng, rng.uniform(0.7, 1.25))[top : PHOTO - bottom, left : PHOTO - side]
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
            cv2.imwrite(str(folder / f"{k:03d}_again.jpg"), again, quality)
        elif k < parts // 2:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 90))]
            cv2.imwrite(str(folder / f"{k:03d}_edited.jpg"), _edited(first, rng, k % 3), quality)


# --- truth --------------------------------------------------------------------------------------------------------


def part_numbers(names: Iterable[str]) -> set[Pair]:
    """Pairs of generated files that show the same part."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[Path(name).name[:3]].append(name)
    return {pair for group in groups.values() for pair in combinations(sorted(group), 2)}


def tiles(names: Iterable[str]) -> set[Pair]:
    """Pairs of magnetic_tile that their names call the same tile: six exposures in a row, numbered upwards.

    The names do not say when a tile was photographed a second time later, so more pairs than these are right.
    """
    open_tiles: list[tuple[int, int, list[str]]] = []
    groups: list[list[str]] = []
    found = [(re.search(r"exp(\d)_num_(\d+)", name), name) for name in names]
    for number, exposure, name in sorted((int(m[2]), int(m[1]), name) for m, name in found if m):
        fits = [one for one in open_tiles if one[1] == exposure - 1 and number - one[0] <= 300]
        if fits:
            open_tiles.remove(fits[0])
            group = fits[0][2]
        else:
            group = []
            groups.append(group)
        group.append(name)
        open_tiles.append((number, exposure, group))
    return {pair for group in groups for pair in combinations(sorted(group), 2)}


# --- measurement --------------------------------------------------------------------------------------------------


def weakspot_pairs(folder: Path) -> dict[str, Any]:
    """What weakspot finds: pairs in one group, possible pairs, and the seconds that it took."""
    infos = inspect_images([path for path in list_images(folder) if "ground_truth" not in path.parts])
    names = [str(info.path.relative_to(folder)) for info in infos]
    start = time.perf_counter()
    found = find_near_duplicates(infos)
    seconds = time.perf_counter() - start

    def named(pairs: Iterable[tuple[int, int]]) -> list[list[str]]:
        return [sorted((names[a], names[b])) for a, b in pairs]

    members: dict[int, list[int]] = defaultdict(list)
    for k, group in enumerate(found.groups()):
        members[group].append(k)
    certain = named(pair for group in members.values() for pair in combinations(group, 2))
    # As before verification: all look-alikes above the limit.
    before = NearDuplicates([*found.pairs, *found.possible], found.limit, found.usual, found.images)
    return {
        "weakspot, certain": certain,
        "weakspot, possible": named((a, b) for a, b, _ in found.possible),
        "weakspot, all look-alikes above the limit": named((a, b) for a, b, s in before.pairs if s >= found.limit),
        "names": names,
        "seconds": seconds,
    }


def ask_peers(python: str, folder: Path) -> dict[str, Any]:
    """What the other tools find; their environment does the work."""
    script = Path(__file__).with_name("near_duplicates_peers.py")
    done = subprocess.run([python, str(script), str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"peers": f"failed: {done.stderr.strip().splitlines()[-1:]}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def rows(title: str, found: dict[str, Any], truth: set[Pair]) -> list[list[object]]:
    """A row for each tool: pairs, how many are right, precision, recall, and images in a wrong pair."""
    lines: list[list[object]] = []
    for tool, pairs in found.items():
        if tool in ("names", "seconds"):
            continue
        if isinstance(pairs, str):
            lines.append([title, tool, pairs, "", "", "", ""])
            continue
        named: set[Pair] = {(min(pair), max(pair)) for pair in pairs}
        right = named & truth
        wrong = {name for pair in named - truth for name in pair}
        precision = f"{len(right) / len(named):.3f}" if named else "–"
        images = f"{len(wrong)} of {len(found['names'])}"
        lines.append([title, tool, len(named), len(right), precision, f"{len(right) / len(truth):.3f}", images])
    return lines


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of magnetic_tile; without it only generated sets.")] = None,
    folder: Annotated[Path, typer.Option(help="Where pictures and findings are kept.")] = Path(
        "outputs/near_duplicates"
    ),
    peers: Annotated[str | None, typer.Option(help="Python that has imagededup and cleanvision.")] = None,
    parts: Annotated[int, typer.Option(min=40, help="Different parts in each generated set.")] = 120,
    output: OutputOption = None,
) -> None:
    """Measure all tools on all sets."""
    if peers is None:
        say("imagededup and cleanvision are left out: give --peers PYTHON (see the docstring for its environment)")
    lines: list[list[object]] = []
    sets: dict[str, tuple[Path, Callable[[Iterable[str]], set[Pair]]]] = {}
    for product in PRODUCTS:
        for pose in ("random pose", "fixture"):
            title = f"{product}, {pose}"
            target = folder / f"{product}-{pose.split()[0]}-{parts}"
            if not target.exists():
                partial = target.with_name(f"{target.name}.partial-{time.time_ns()}")
                generate(partial, product, pose == "fixture", parts)
                partial.rename(target)
            sets[title] = target, part_numbers
    if data is not None:
        sets["magnetic_tile"] = data, tiles
    for title, (pictures, truth) in sets.items():
        kept = folder / f"{title.replace(', ', '-').replace(' ', '-')}-{parts}.json"
        found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else weakspot_pairs(pictures)
        if peers is not None and "cleanvision" not in found:
            found |= ask_peers(peers, pictures)
        kept.write_text(json.dumps(found))
        say(f"{title}: {found['seconds']:.1f} s")
        lines += rows(f"{title} ({len(found['names'])} pictures)", found, truth(found["names"]))
    header = ["pictures", "tool", "pairs", "right", "precision", "recall", "pictures in a wrong pair"]
    report("Same part or same product", [table(header, lines)], output)


if __name__ == "__main__":
    typer.run(main)
