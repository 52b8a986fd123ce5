"""A data set ready for training: read, checked, grouped, split."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from weakspot.config.schema import CacheConfig, TrainConfig, one_of, read_config
from weakspot.data import shortcuts
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.near_duplicates import VERSION, NearDuplicates, find_near_duplicates
from weakspot.data.readers import class_names, read_samples, target_of
from weakspot.data.shortcuts import Values
from weakspot.data.splits import group_numbers, portable, read_split, split_hash, split_samples, with_subsets
from weakspot.data.summary import summarize
from weakspot.errors import WeakspotError
from weakspot.models.feature_cache import default_cache_dir
from weakspot.runs.folder import RunFolder
from weakspot.types import Sample, Subset, Task
from weakspot.utils import console
from weakspot.utils.files import atomic_path, shown, write_json
from weakspot.utils.untrusted import MOST_ANNOTATIONS, read_json, read_npy

NEAR_DUPLICATES = ("together", "report", "ignore")
"""What to do about photographs of the same part: keep them on one side of the split, only say so, or not look."""


@dataclass(frozen=True)
class Data:
    """A data set with its split, ready for training.

    Attributes:
        samples, infos, parts, targets: aligned lists, one entry an image.
        classes: class names, ``good`` first.
        root: folder that paths in ``split.csv`` are relative to.
        data_hash: over the content and the label of every image (hexadecimal).
        truth_hash: over every mask, which decides what is measured and never what is learnt.
        split_hash: over which image is in which part.
        near_duplicates: photographs of the same part, by position; None where nobody looked.
    """

    samples: list[Sample]
    infos: list[ImageInfo]
    subsets: list[Subset]
    targets: list[int]
    classes: list[str]
    root: Path
    data_hash: str
    truth_hash: str
    split_hash: str
    near_duplicates: NearDuplicates | None = None

    @property
    def groups(self) -> list[int]:
        """A number for the part each image shows, as far as anything is known of that."""
        near = self.near_duplicates
        return group_numbers(self.samples if near is None else joined_groups(self.samples, near))

    @property
    def near_training_image(self) -> list[bool]:
        """For each image whether it is outside the training subset while a near-duplicate is inside it."""
        if self.near_duplicates is None:
            return [False] * len(self.samples)
        groups = self.near_duplicates.groups()
        seen = {groups[i] for i in self.indices("train")}
        return [subset != "train" and group in seen for subset, group in zip(self.subsets, groups, strict=True)]

    def leakage(self) -> dict[str, Any] | None:
        """What was found of near-duplicates, for ``run.json``; None where nobody looked."""
        found = self.near_duplicates
        if found is None:
            return None
        twins = [
            portable(sample.path, self.root)
            for sample, twin in zip(self.samples, self.near_training_image, strict=True)
            if twin
        ]
        return _leak_record(found, twins)

    @property
    def identical_across_subsets(self) -> int:
        """How many images outside the training subset are byte for byte the same as one inside it."""
        seen = {self.infos[i].sha256 for i in self.indices("train")}
        return sum(
            info.sha256 in seen for info, subset in zip(self.infos, self.subsets, strict=True) if subset != "train"
        )

    def indices(self, subset: Subset) -> list[int]:
        """Positions of the images of a part."""
        return [i for i, p in enumerate(self.subsets) if p == subset]


def _leak_record(found: NearDuplicates, twins: list[str]) -> dict[str, Any]:
    return {
        "images": found.images,
        "repeated": found.repeated,
        "parts": found.n_groups,
        "limit": found.limit,
        "usual": found.usual,
        "held_out_of_trained_parts": twins,
    }


@dataclass(frozen=True)
class Indexed:
    """A data set that was read and found sound; fields as in :class:`Data`."""

    samples: list[Sample]
    infos: list[ImageInfo]
    root: Path
    data_hash: str
    truth_hash: str


def read_and_check(config: TrainConfig) -> Indexed:
    """Read the configured data set; decode and hash every image.

    Raises:
        WeakspotError: for an unknown layout, a missing folder, a misspelt subset, an empty class, a bad image or mask.
    """
    data = config.data
    with console.status("reading folders (generating pictures, where they are synthetic)"):
        samples = read_samples(data.layout, data.root, subset=data.subset, good_class=data.good_class, **data.options)
    # A layout with a default root (synthetic) is <root>/<subset>/<train|test>/<class>/<file>.
    root = Path(data.root).expanduser() if data.root else samples[0].path.parents[3]
    with console.progress_bar("reading images", len(samples)) as progress:
        infos = inspect_images([sample.path for sample in samples], progress=progress)
    problems = summarize(samples, infos).problems
    if problems:
        more = f" (and {len(problems) - 1} more problems: 'weakspot check' lists them)" if len(problems) > 1 else ""
        raise WeakspotError(f"{problems[0]}{more}")
    digest = hashlib.sha256()
    for line in sorted(f"{info.sha256} {sample.defect}" for info, sample in zip(infos, samples, strict=True)):
        digest.update(line.encode())
    truth = hashlib.sha256()
    for line in sorted(f"{i.sha256} {_file_hash(s.mask)}" for i, s in zip(infos, samples, strict=True) if s.mask):
        truth.update(line.encode())
    return Indexed(samples, infos, root, digest.hexdigest(), truth.hexdigest())


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def index_and_split(config: TrainConfig) -> Data:
    """Read and check the data set, and decide which images are held out.

    Raises:
        WeakspotError: as :func:`read_and_check`, for a group pattern that fits no image, and when the split is
            impossible.
    """
    one_of("data.task", config.data.task, ("binary", "multiclass"))
    policy = one_of("split.near_duplicates", config.split.near_duplicates, NEAR_DUPLICATES)
    indexed = read_and_check(config)
    samples = with_groups(indexed.samples, config.data.group, indexed.root)
    near = None if policy == "ignore" else near_duplicates(indexed.infos, config.cache)
    if near is not None and not near.tells_groups:
        console.err.print(
            f"warning: {near.repeated} of {near.images} images look alike down to their detail, so near-duplicates "
            "cannot be told from different parts (data.group=<regex> names the parts)",
            style="yellow",
        )
        near = None
    if near is not None and policy == "together":
        samples = joined_groups(samples, near)
    classes = class_names(samples, cast(Task, config.data.task))
    if config.split.file is not None:
        samples = with_subsets(samples, Path(config.split.file).expanduser(), indexed.root)
    settings = asdict(config.split)
    for key in ("near_duplicates", "file"):
        del settings[key]
    subsets = split_samples(samples, **settings)
    data = Data(
        samples=samples,
        infos=indexed.infos,
        subsets=subsets,
        targets=[target_of(sample, classes) for sample in samples],
        classes=classes,
        root=indexed.root,
        data_hash=indexed.data_hash,
        truth_hash=indexed.truth_hash,
        split_hash=split_hash(samples, subsets, indexed.root),
        near_duplicates=near,
    )
    _warn_of_split(data)
    return data


def _warn_of_split(data: Data) -> None:
    """Say what held-out and training images share, and what the training subset lacks."""
    if data.identical_across_subsets:
        console.err.print(
            f"warning: {data.identical_across_subsets} held-out images are exact copies of training images; the "
            "numbers will flatter ('weakspot check' counts duplicates)",
            style="yellow",
        )
    twins = sum(data.near_training_image)
    if twins:
        given = data.samples[0].subset is not None
        way_out = "the parts were given" if given else "split.near_duplicates=together keeps each part on one side"
        console.err.print(
            f"warning: {twins} of {len(data.samples) - len(data.indices('train'))} held-out images show a part that "
            f"training images show too (another exposure, another frame); the numbers will flatter ({way_out})",
            style="yellow",
        )
    elif data.near_duplicates is not None and data.near_duplicates.pairs:
        found = data.near_duplicates
        console.err.print(
            f"near-duplicates: {found.repeated} of {found.images} images show one of {found.n_groups} parts that were "
            "photographed several times; each part is kept on one side of the split"
        )
    for name in sorted(set(data.classes) - {data.classes[data.targets[i]] for i in data.indices("train")}):
        console.err.print(f"warning: no training image is of class {name!r}; it will not be recognised", style="yellow")


def near_duplicates(images: Sequence[ImageInfo], cache: CacheConfig) -> NearDuplicates:
    """Photographs of the same part; looked for once, then kept in the cache folder."""
    kept = _kept(cache, "near-duplicates", VERSION, images, ".json")
    if kept is not None and kept.is_file():
        try:
            return NearDuplicates.from_dict(read_json(kept, MOST_ANNOTATIONS))
        except (OSError, ValueError, KeyError, TypeError):
            kept.unlink(missing_ok=True)  # damaged: found anew
    with console.progress_bar("looking for near-duplicates") as progress:
        found = find_near_duplicates(images, progress=progress)
    if kept is not None:
        write_json(kept, found.to_dict())
    return found


def near_training_images(run: RunFolder, other: Indexed, cache: CacheConfig) -> dict[str, Any] | None:
    """Look among other images for photographs of parts that a run was trained on; says so where there are any.

    Returns:
        As :meth:`Data.leakage`; None where the training images are gone, or look too much alike to tell parts.
    """
    root = Path(read_config(run.config).data.root or ".")
    samples, subsets = read_split(run.split, root)
    trained = [sample.path for sample, subset in zip(samples, subsets, strict=True) if subset != "test"]
    if not all(path.is_file() for path in trained):
        console.err.print(
            f"warning: images that the run was trained on are no longer in {shown(root)}; whether these show the same "
            "parts was not looked at",
            style="yellow",
        )
        return None
    with console.progress_bar("reading the training images", len(trained)) as progress:
        infos = [*other.infos, *inspect_images(trained, progress=progress)]
    found = near_duplicates(infos, cache)
    if not found.tells_groups:
        return None
    groups, n = found.groups(), len(other.infos)
    known = set(groups[n:])
    twins = [
        portable(sample.path, other.root)
        for sample, group in zip(other.samples, groups, strict=False)
        if group in known
    ]
    if twins:
        console.err.print(
            f"warning: {len(twins)} of {n} images show a part that the run was trained on (another exposure, another "
            f"frame), {twins[0]} for one; the numbers will flatter",
            style="yellow",
        )
    return _leak_record(found, twins)


def measurements(images: Sequence[ImageInfo], cache: CacheConfig) -> Values:
    """:func:`~weakspot.data.shortcuts.measure_all` of images; made once, then kept in the cache folder."""
    kept = _kept(cache, "measurements", shortcuts.VERSION, images, ".npy")
    if kept is not None and kept.is_file():
        try:
            values = read_npy(kept).astype(np.float64, casting="safe")
        except (OSError, ValueError, TypeError, EOFError):
            kept.unlink(missing_ok=True)
        else:
            if values.shape == (len(images), len(shortcuts.COLUMNS)):
                return values
    with console.progress_bar("measuring what should not matter") as progress:
        values = shortcuts.measure_all(images, progress=progress)
    if kept is not None:
        with atomic_path(kept) as temporary:
            np.save(temporary, values)
    return values


def _kept(cache: CacheConfig, name: str, version: int, images: Sequence[ImageInfo], suffix: str) -> Path | None:
    """Where something that was found out about these very images is kept; None without a cache."""
    if not cache.enabled:
        return None
    of_content = hashlib.sha256(json.dumps([version, [image.sha256 for image in images]]).encode()).hexdigest()
    folder = Path(cache.dir).expanduser() if cache.dir else default_cache_dir()
    return folder / name / f"{of_content}{suffix}"


def with_groups(samples: Sequence[Sample], pattern: str | None, root: Path) -> list[Sample]:
    """Give samples the groups that their paths name.

    Args:
        samples: the samples.
        pattern: regular expression, searched for in each path relative to `root` (forward slashes); what its first
            pair of brackets matches is the group, or all of the match where there are none. None leaves all as it is.
        root: of the data set.

    Raises:
        WeakspotError: for a pattern that is none, or fits no image.
    """
    if pattern is None:
        return list(samples)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise WeakspotError(f"data.group={pattern} is not a regular expression ({error})") from error
    found = [expression.search(portable(sample.path, root)) for sample in samples]
    if not any(found):
        raise WeakspotError(f"data.group={pattern} fits no image, {shown(samples[0].path)} for one")
    return [
        sample if match is None else replace(sample, group=match.group(1 if expression.groups else 0))
        for sample, match in zip(samples, found, strict=True)
    ]


def joined_groups(samples: Sequence[Sample], near: NearDuplicates) -> list[Sample]:
    """Put near-duplicates into one group, and the groups they belong to already; lone images stay without."""
    linked = near.groups()
    numbers: dict[str, int] = {}
    first, second = list(range(len(samples))), [len(samples) + group for group in linked]
    for i, sample in enumerate(samples):
        if sample.group is not None:
            first.append(i)
            second.append(2 * len(samples) + numbers.setdefault(sample.group, len(numbers)))
    nodes = 2 * len(samples) + len(numbers)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(nodes, nodes))
    labels = connected_components(links, directed=False)[1][: len(samples)]
    sizes = np.bincount(labels)
    return [
        sample if sizes[label] == 1 else replace(sample, group=f"part {label}")
        for sample, label in zip(samples, labels, strict=True)
    ]
