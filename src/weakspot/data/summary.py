"""The contents and the problems of a data set, as data; ``weakspot check`` prints them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from weakspot.data.bit_depth import depth_warning
from weakspot.data.defect_itself import settle
from weakspot.data.findings import Shortcut
from weakspot.data.good_class import doubt
from weakspot.data.images import ImageInfo, Progress, inspect_images, read_mask
from weakspot.data.measurements import Values, measure_all
from weakspot.data.near_duplicates import NearDuplicates, find_near_duplicates
from weakspot.data.readers import read_samples
from weakspot.data.roi_files import read_region
from weakspot.data.shortcuts import find_shortcuts
from weakspot.errors import WeakspotError
from weakspot.types import ANOMALY, GOOD, Sample, Size
from weakspot.utils.files import shown
from weakspot.utils.threads import threads


@dataclass(frozen=True)
class Duplicates:
    """Files with the same content.

    Attributes:
        paths: the files, sorted.
        defects: their labels, in the same order.
    """

    paths: tuple[Path, ...]
    defects: tuple[str, ...]

    @property
    def contradictory(self) -> bool:
        """True when the same picture carries different labels."""
        return len(set(self.defects)) > 1


@dataclass(frozen=True)
class DataSummary:
    """Contents and problems of a data set, from :func:`summarize`.

    Attributes:
        total: number of images.
        per_class: images of Good and Anomaly.
        per_defect: images of Good and each defect type, Good first.
        per_folder: images of each defect type in ``train`` and ``test``, where the data set has such folders.
        heights, widths: smallest and largest, of the readable images; (0, 0) without any.
        sizes: how often each ``(height, width)`` occurs, most common first.
        modes: how often each pixel format (Pillow's names) occurs, most common first.
        extensions: how often each file name extension (lower case) occurs, most common first.
        unreadable: images that cannot be read, and why.
        missing_masks: defect images without a mask.
        empty_masks: masks that mark nothing.
        bad_masks: masks that cannot be read or have another size than their image, and why.
        duplicates: groups of files with the same content.
        dark: what is to be said of 16-bit pictures that use only the lowest bits; None where there is nothing.
    """

    total: int
    per_class: dict[str, int]
    per_defect: dict[str, int]
    per_folder: dict[str, dict[str, int]]
    heights: tuple[int, int]
    widths: tuple[int, int]
    sizes: dict[Size, int]
    modes: dict[str, int]
    extensions: dict[str, int]
    unreadable: list[tuple[Path, str]]
    missing_masks: list[Path]
    empty_masks: list[Path]
    bad_masks: list[tuple[Path, str]]
    duplicates: list[Duplicates]
    dark: str | None = None

    @property
    def problems(self) -> list[str]:
        """What training refuses, a line each: unreadable images, unusable masks, contradicting labels."""
        contradicting = [
            f"{shown(group.paths[0])} and {shown(group.paths[-1])} are the same picture with different labels "
            f"({', '.join(sorted(set(group.defects)))}); remove one"
            for group in self.contradictions
        ]
        return [why for _, why in [*self.unreadable, *self.bad_masks]] + contradicting

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        sizes = [{"height": h, "width": w, "count": count} for (h, w), count in self.sizes.items()]
        return {**asdict(self), "sizes": sizes, "problems": self.problems}

    @property
    def contradictions(self) -> list[Duplicates]:
        """Copies of one picture under different labels."""
        return [group for group in self.duplicates if group.contradictory]


def summarize(
    samples: Sequence[Sample],
    infos: Sequence[ImageInfo],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DataSummary:
    """Count the images and collect the problems; reads the masks, not the images.

    Args:
        samples: the samples.
        infos: from :func:`~weakspot.data.images.inspect_images`, in the same order.
        workers: number of threads for the masks; by default one per core, at most 8.
        progress: called with (done, total) after each mask.
    """
    readable = [info for info in infos if info.error is None]
    counts = Counter(sample.defect for sample in samples)
    good = counts[GOOD]
    empty, bad = _check_masks(samples, infos, workers, progress)
    return DataSummary(
        total=len(samples),
        per_class={GOOD: good, ANOMALY: len(samples) - good},
        per_defect={GOOD: good, **{name: counts[name] for name in sorted(counts) if name != GOOD}},
        per_folder=_per_folder(samples),
        heights=_range([info.height for info in readable]),
        widths=_range([info.width for info in readable]),
        sizes=dict(Counter((info.height, info.width) for info in readable).most_common()),
        modes=dict(Counter(info.mode for info in readable).most_common()),
        extensions=dict(Counter(sample.path.suffix[1:].lower() for sample in samples).most_common()),
        unreadable=[(info.path, info.error) for info in infos if info.error is not None],
        missing_masks=[sample.path for sample in samples if not sample.is_good and sample.mask is None],
        empty_masks=empty,
        bad_masks=bad,
        duplicates=_duplicates(samples, infos),
        dark=depth_warning(readable),
    )


@dataclass(frozen=True)
class Findings:
    """Everything that ``weakspot check`` finds in a data set.

    Attributes:
        summary: its contents and its problems.
        readable: the samples whose image can be read.
        near_duplicates: photographs of the same part, by position in `readable`.
        shortcuts: properties other than the defect that tell the classes apart.
        explained: differences between the classes that are the defect's own, a sentence each.
        question: asks whether the class called Good is the right one; None where nothing speaks against it.
        values: :func:`~weakspot.data.measurements.measure_all` of `readable`.
        of_region: what is known of the region of interest, a sentence each; empty without one.
        good_class: what Good images are called.
    """

    summary: DataSummary
    readable: list[Sample]
    near_duplicates: NearDuplicates
    shortcuts: list[Shortcut]
    explained: list[str] = field(default_factory=list)
    question: str | None = None
    values: Values | None = field(default=None, repr=False, compare=False)
    of_region: list[str] = field(default_factory=list)
    good_class: str = GOOD

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        near = self.near_duplicates
        pairs, possible = (
            [{"first": self.readable[a].path, "second": self.readable[b].path, "agreement": r} for a, b, r in found]
            for found in (near.pairs, near.possible)
        )
        return {
            **self.summary.to_dict(),
            "near_duplicates": {**near.to_dict(), "pairs": pairs, "possible": possible},
            "shortcuts": [shortcut.to_dict() for shortcut in self.shortcuts],
            "explained": self.explained,
            "question": self.question,
            "good_class": self.good_class,
            "roi": self.of_region,
        }


def look_through(
    folder: Path,
    layout: str,
    good_class: str = GOOD,
    options: Mapping[str, Any] | None = None,
    *,
    roi: str | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Read, inspect and summarise one data set.

    Args:
        folder: of the data set.
        layout: as for :func:`~weakspot.data.readers.read_samples`.
        good_class: what good images are called.
        options: of the layout.
        roi: as ``data.roi``; nothing outside the region of interest is measured.
        progress: called with (done, total) in images; reading and measuring are a quarter each, comparing is half.

    Raises:
        WeakspotError: when the folder is not a data set of this layout, or the region of interest does not fit it.
    """
    samples = read_samples(layout, folder, good_class=good_class, **(options or {}))
    n = len(samples)

    def part(start: int, share: int) -> Progress | None:
        return progress and (lambda done, total: progress((start * n + done * share * n // total) // 4, n))

    infos = inspect_images([sample.path for sample in samples], progress=part(0, 1))
    sound = [i for i, info in enumerate(infos) if info.error is None]
    readable = [infos[i] for i in sound]
    region, of_region = (None, list[str]()) if roi is None else read_region(roi, readable)
    readable = [replace(info, roi=region) for info in readable]
    near = find_near_duplicates(readable, progress=part(1, 2))
    targets = [int(not samples[i].is_good) for i in sound]
    groups = near.groups() if near.tells_groups else None
    values, of_sound = measure_all(readable, progress=part(3, 1)), [samples[i] for i in sound]
    summary = summarize(samples, infos)
    usable = of_sound if not summary.bad_masks else [replace(sample, mask=None) for sample in of_sound]
    checked = settle(find_shortcuts(values, targets, groups), values, usable, readable, groups)
    question = doubt(of_sound, values, good_class)
    return Findings(summary, of_sound, near, checked.alarms, checked.explained, question, values, of_region, good_class)


def _range(values: Sequence[int]) -> tuple[int, int]:
    return (min(values), max(values)) if values else (0, 0)


def _per_folder(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Count by the folder above the class folder, where that is ``train`` or ``test``."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        found[sample.path.parent.parent.name][sample.defect] += 1
    return {name: dict(found[name]) for name in ("train", "test") if name in found}


def _check_masks(
    samples: Sequence[Sample], infos: Sequence[ImageInfo], workers: int | None, progress: Progress | None
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return the masks that mark nothing, and those that are unusable with the reason."""
    # Without its image's size a mask cannot be judged; the image itself is reported.
    todo = [
        (sample.mask, (info.height, info.width))
        for sample, info in zip(samples, infos, strict=True)
        if sample.mask is not None and info.error is None
    ]

    def check(job: tuple[Path, Size]) -> str | None:
        try:
            return None if read_mask(*job).any() else ""
        except WeakspotError as error:
            return str(error)

    empty: list[Path] = []
    bad: list[tuple[Path, str]] = []
    with threads(workers) as pool:
        for done, ((mask, _), problem) in enumerate(zip(todo, pool.map(check, todo), strict=True), start=1):
            if problem == "":
                empty.append(mask)
            elif problem is not None:
                bad.append((mask, problem))
            if progress is not None:
                progress(done, len(todo))
    return empty, bad


def _duplicates(samples: Sequence[Sample], infos: Sequence[ImageInfo]) -> list[Duplicates]:
    by_content: dict[str, list[Sample]] = defaultdict(list)
    for sample, info in zip(samples, infos, strict=True):
        if info.sha256:
            by_content[info.sha256].append(sample)
    groups = [sorted(group, key=lambda sample: sample.path) for group in by_content.values() if len(group) > 1]
    return [Duplicates(tuple(s.path for s in group), tuple(s.defect for s in group)) for group in groups]
