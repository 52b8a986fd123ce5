"""A look-alike is the same part for certain only if it shares what other look-alikes lack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.cluster.hierarchy import DisjointSet

from weakspot.data import spectra, verification
from weakspot.data.bare_surface import fine_detail, on_product
from weakspot.data.images import inspect_images, list_images
from weakspot.data.near_duplicates import NearDuplicates, find_near_duplicates
from weakspot.data.repeats import certain_words, in_both_classes, paired_words, possible_words
from weakspot.data.same_part import (
    BLOCK,
    Match,
    Surface,
    common_detail,
    fits_together,
    match_blocks,
    same_pixels,
    siblings_among,
    surface,
    weigh,
)
from weakspot.data.shifts import placed
from weakspot.data.verification import _next_links, sizes_in_common
from weakspot.types import GOOD, Sample

Float = npt.NDArray[np.float32]


def grain(seed: int, *shape: int, sigma: float = 1.0) -> Float:
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=shape).astype(np.float32), (0, 0), sigma)
    return np.asarray(smooth / smooth.std(), np.float32)


def textured(seed: int, *shape: int) -> Float:
    return np.clip(128 + 8 * grain(seed, *shape), 0, 255).astype(np.float32)


def moved(picture: Float, turn: float = 0, down: float = 0, right: float = 0) -> Float:
    height, width = picture.shape
    model = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1)
    model[:, 2] += (right, down)
    return np.asarray(cv2.warpAffine(picture, model, (width, height), borderMode=cv2.BORDER_REFLECT), np.float32)


def seen(score: list[float], found: list[tuple[float, float]] | None = None) -> Match:
    return Match(np.array(score, np.float32), np.array(found or [(0, 0)] * len(score), np.float32), (500, 500))


# --- one picture --------------------------------------------------------------------------------------------------


def test_the_product_is_what_differs_from_the_border() -> None:
    picture = np.full((120, 200), 60, np.float32)
    picture[40:80, 60:150] = 160
    product = on_product(picture)
    assert product is not None
    assert product[44:76, 64:146].all()
    assert not product[:30].any()
    assert not product[:, 160:].any()
    assert on_product(textured(0, 120, 200)) is None  # no background
    assert on_product(np.full((120, 200), 60, np.float32)) is None  # nothing but background


def test_blocks_lie_on_the_product_and_off_its_edges() -> None:
    picture = textured(1, 200, 280)
    picture[:, :140] += 100  # one strong edge, from top to bottom
    places = surface(np.clip(picture, 0, 255)).places
    assert len(places) > 20
    on_edge = (places[:, 1] < 139) & (places[:, 1] + BLOCK > 141)
    assert on_edge.sum() < 0.3 * len(places)


def test_what_all_pictures_share_is_taken_away() -> None:
    fixed = 8 * grain(2, 160, 200)
    pictures = [128 + fixed + 2 * grain(10 + k, 160, 200) for k in range(12)]
    common = common_detail([fine_detail(one) for one in pictures])
    bare = [surface(one).detail.astype(float).ravel() for one in pictures[:2]]
    rest = [surface(one, common).detail.astype(float).ravel() for one in pictures[:2]]
    assert np.corrcoef(bare)[0, 1] > 0.8
    assert abs(np.corrcoef(rest)[0, 1]) < 0.15


def test_sizes_that_few_pictures_have_share_nothing() -> None:
    found = sizes_in_common([(30, 40)] * 9 + [(40, 30)] * 7 + [(50, 60)] * 200)
    assert set(found) == {(30, 40), (50, 60)}
    assert found[30, 40] == list(range(9))
    assert 40 <= len(found[50, 60]) <= 48


# --- two pictures -------------------------------------------------------------------------------------------------


def test_blocks_are_found_where_they_went() -> None:
    picture = textured(3, 160, 220)
    a, b = surface(picture), surface(moved(picture, down=13, right=-9))
    match = match_blocks(a, b, (-10, 6))  # the search begins near the true shift, not at it
    inside = match.score > 0
    assert inside.sum() > 20
    assert np.median(match.score[inside]) > 0.95
    assert np.median(match.found[inside] - a.places[inside], axis=0).tolist() == [13, -9]


@pytest.mark.parametrize("turn", [0.0, 1.0, 2.0, 3.0])
def test_a_turned_picture_fits_together_and_another_one_does_not(turn: float) -> None:
    picture = textured(4, 200, 260)
    a = surface(picture)
    turned = match_blocks(a, surface(moved(picture, turn)), (0, 0))
    assert fits_together(a.places, turned).mean() > 0.6
    other = match_blocks(a, surface(textured(5, 200, 260)), (0, 0))
    assert fits_together(a.places, other).mean() < 0.1


@given(st.integers(0, 1000), st.floats(-2, 2), st.tuples(st.integers(-8, 8), st.integers(-8, 8)), st.floats(0.95, 1.05))
def test_any_small_shift_turn_and_scale_fits_together(
    seed: int, turn: float, shift: tuple[int, int], scale: float
) -> None:
    places = np.random.default_rng(seed).integers(0, 300, size=(20, 2))
    sine, cosine = scale * np.sin(np.deg2rad(turn)), scale * np.cos(np.deg2rad(turn))
    found = places @ np.array([[cosine, sine], [-sine, cosine]]) + shift
    match = Match(np.full(20, 0.9, np.float32), found.astype(np.float32), (400, 400))
    assert fits_together(places, match).all()


def test_too_few_blocks_fit_nothing() -> None:
    places = np.array([[0, 0], [50, 50]])
    assert not fits_together(places, seen([0.9, 0.9], [(0, 0), (50, 50)])).any()


def test_the_same_pixels() -> None:
    a, b = textured(6, 60, 80), textured(7, 60, 80)
    assert same_pixels(surface(a), surface(np.round(a)))
    assert not same_pixels(surface(a), surface(b))
    assert not same_pixels(surface(a), surface(a[:50]))


# --- the null -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closeness", "siblings"),
    [
        ([0.9, 0.95, 0.2, 0.25, 0.2], {0, 1}),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], {0}),  # no gap: nothing tells the part from the product
        ([0.2, 0.95, 0.9, 0.25, 0.2], {0}),  # the pair in question lies below the gap
        ([1.5, 1.0, 0.9, 0.2, 0.2, 0.2], {0, 1, 2}),  # the lowest gap counts, not the widest
        ([0.9, 0.1], {0}),
        ([0.9], {0}),
    ],
)
def test_siblings_stand_above_a_gap(closeness: list[float], siblings: set[int]) -> None:
    assert siblings_among(closeness) == siblings


def weighed(score: list[float], *others: list[float]) -> tuple[float, float, float, bool]:
    """Evidence of blocks that all fit together."""
    n = len(score)
    places = np.stack([np.arange(n) * 30, np.arange(n) ** 2 % 7 * 30], axis=1)
    flat = np.zeros((1, 1), np.uint8)
    match = Match(np.array(score, np.float32), places.astype(np.float32), (2000, 2000))
    found = weigh(Surface(flat, flat, places, 1.0, np.ones(n, bool)), match, [seen(other) for other in others])
    return found.blocks, found.share, found.among_own, found.enough


def test_blocks_that_the_other_picture_lacks_do_not_count_against_it() -> None:
    picture = textured(30, 160, 220)
    a, cropped = surface(picture), surface(picture[:, 40:])
    others = [match_blocks(a, surface(textured(31 + k, 160, 220)), (0, 0)) for k in range(4)]
    assert weigh(a, match_blocks(a, cropped, (0, 40)), others).share > 0.95


def test_only_blocks_that_no_other_look_alike_has_count() -> None:
    high, low = [0.8] * 10, [0.2] * 10
    assert weighed(high, low, low, low) == (10, 1.0, 1.0, True)
    assert weighed(high, low, high, low)[::3] == (0, False)  # another look-alike has them as well
    some = [0.8] * 4 + [0.2] * 6
    assert weighed(high, some, low, low) == (6, 0.6, 1.0, True)  # four are shared and say nothing
    assert weighed([0.8] * 5 + [0.2] * 5, low, low)[3] is False  # worth five whole blocks
    assert weighed([0.8] * 7 + [0.3] * 23, [0.2] * 30, [0.2] * 30)[3] is False  # seven of thirty
    assert weighed(high) == (0, 0, 0, False)  # without a null nothing is certain


# --- which pairs are verified ---------------------------------------------------------------------------------------


def test_the_fewest_links_that_could_hold_all_look_alikes_together() -> None:
    waiting = {(0, 1): 0.9, (0, 2): 0.8, (1, 2): 0.95, (0, 3): 0.7, (5, 6): 0.6}
    links = _next_links(waiting, DisjointSet(range(7)))
    assert links == {0: [(0, 1), (0, 2), (0, 3)], 5: [(5, 6)]}
    groups = DisjointSet(range(7))
    groups.merge(0, 1)
    left = {pair: score for pair, score in waiting.items() if pair != (0, 1)}
    assert sum(len(pairs) for pairs in _next_links(left, groups).values()) == 3


def test_where_sketches_of_two_sizes_lie_over_each_other() -> None:
    a = grain(8, 60, 90)
    assert (placed(a, a).down, placed(a, a).right) == (0, 0)
    one = placed(a, a[7:, 4:])
    assert (one.down, one.right, one.resized) == (7, 4, False)
    back = placed(a[7:, 4:], a)
    assert (back.down, back.right) == (one.turned().down, one.turned().right) == (-7, -4)
    large = cv2.GaussianBlur(grain(9, 120, 160), (0, 0), 4)
    small = cv2.resize(large, (80, 60), interpolation=cv2.INTER_AREA)
    assert placed(large, small).resized
    assert placed(small, large).resized


def test_spectra_find_a_shifted_surface_among_parts_of_one_shape() -> None:
    shape = 60 * (np.indices((200, 200)).sum(axis=0) % 50 < 25).astype(np.float32)
    surfaces = [80 + shape + 6 * grain(20 + k, 200, 200) for k in range(14)]
    pictures = [*surfaces, moved(surfaces[0] - shape, down=5, right=3) + shape]
    near = list(spectra.neighbours(np.stack([spectra.spectrum(one) for one in pictures])))
    assert 14 in near[0]
    assert 0 in near[14]
    assert all(len(set(ones)) == spectra.NEIGHBOURS for ones in near)


# --- whole data sets ----------------------------------------------------------------------------------------------


def plate(seed: int) -> Float:
    """A plate with four holes on a mat: the shape is the product's, the surface the part's."""
    y, x = np.indices((200, 260)).astype(np.float32)
    inside = (np.abs(y - 100) < 70) & (np.abs(x - 130) < 95)
    for cy, cx in ((60, 65), (60, 195), (140, 65), (140, 195)):
        inside &= np.hypot(y - cy, x - cx) > 14
    return np.where(inside, 150 + 4 * grain(seed, 200, 260), 55 + 2 * grain(0, 200, 260)).astype(np.float32)


def photograph(scene: Float, seed: int, gain: float = 1.0) -> npt.NDArray[np.uint8]:
    noisy = scene * gain + np.random.default_rng(seed).normal(0, 1.5, scene.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


AGAIN: dict[str, Callable[[Float], npt.NDArray[np.uint8]]] = {
    "exposure": lambda scene: photograph(scene, 900, 0.8),
    "shift": lambda scene: photograph(moved(scene, down=4, right=-5), 901),
    "turn": lambda scene: photograph(moved(scene, turn=2), 902),
    "crop": lambda scene: photograph(scene, 903)[9:, :-11],
    "frame": lambda scene: photograph(moved(scene, down=0.5, right=0.7), 904),
}


@pytest.fixture(scope="module")
def fixture_photographed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 plates in the same place; each of the first five was photographed again in another way."""
    root = tmp_path_factory.mktemp("plates")
    for k in range(40):
        Image.fromarray(photograph(plate(k + 1), k)).save(root / f"{k:02d}.png")
    for k, (name, again) in enumerate(AGAIN.items()):
        Image.fromarray(again(plate(k + 1))).save(root / f"{k:02d}_{name}.png")
    Image.fromarray(photograph(plate(6), 5)).save(root / "05_jpeg.jpg", quality=50)
    return root


def test_parts_of_one_product_in_one_pose_are_told_apart_and_repeats_found(fixture_photographed: Path) -> None:
    paths = list_images(fixture_photographed)
    found = find_near_duplicates(inspect_images(paths))
    linked = {(paths[a].name[:2], paths[b].name[:2]) for a, b, _ in found.pairs}
    assert linked == {(f"{k:02d}", f"{k:02d}") for k in range(6)}
    assert found.usual > 0.5  # their shape alone agrees as much
    assert len(found.pairs) == 6


def test_where_blocks_tell_nothing_the_registered_surface_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve parts with the same form and grooves and a fainter surface of their own; three again, 3 pixels off."""
    monkeypatch.setattr(verification, "fits_together", lambda places, _: np.zeros(len(places), bool))
    form = 128 + 25 * grain(99, 180, 240, sigma=6) + 9 * grain(0, 180, 240)
    for k in range(12):
        own, rng = 4 * grain(k + 1, 180, 240), np.random.default_rng(k)
        for name, right in (("first", 0), ("again", 3)) if k < 3 else (("first", 0),):
            scene = moved(form + own, down=rng.uniform(-1, 1), right=right + rng.uniform(-1, 1))
            Image.fromarray(photograph(scene, 50 * k + right)).save(tmp_path / f"{k:02d}_{name}.png")
    paths = list_images(tmp_path)
    found = find_near_duplicates(inspect_images(paths))
    linked = [(paths[a].name, paths[b].name) for a, b, _ in sorted(found.pairs)]
    assert linked == [(f"{k:02d}_again.png", f"{k:02d}_first.png") for k in range(3)]


def test_what_is_said_of_repeats() -> None:
    found = NearDuplicates([(0, 1, 0.9), (2, 3, 0.8)], 0.5, 0.1, 6, [(4, 5, 0.6)])
    labels = [GOOD, "dent", GOOD, GOOD, GOOD, "dent"]
    samples = [Sample(Path(f"{k}.png"), label) for k, label in enumerate(labels)]
    assert certain_words(found).startswith("4 of 6 images show one of 2 parts several times")
    assert "1 pair looks alike and may show the same part" in possible_words(found)
    assert in_both_classes(samples, found) == 1  # the possible pair does not count
    assert "1 of 2 parts has Good and defective photographs" in paired_words(samples, found)
    assert "weakspot compare" in paired_words(samples, found)
    nothing = NearDuplicates([], 0.5, 0.1, 6)
    assert (certain_words(nothing), possible_words(nothing), paired_words(samples, nothing)) == ("", "", "")
