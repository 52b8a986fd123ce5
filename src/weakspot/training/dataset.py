"""A data set ready for training: read, checked, grouped and split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from weakspot.config.schema import DataConfig, SplitConfig, one_of
from weakspot.data.bit_depth import depth_warning
from weakspot.data.classes import class_names, target_of, targets_of
from weakspot.data.corrections import Corrections, as_files, read_corrections, relabelled
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.near_duplicates import NearDuplicates
from weakspot.data.readers import check_options, read_samples
from weakspot.data.repeats import TURNED, certain_words, possible_words
from weakspot.data.splits import group_numbers, portable, split_hash, split_samples, with_subsets
from weakspot.data.summary import summarize
from weakspot.errors import WeakspotError
from weakspot.training.cached_searches import leak_record, near_duplicates
from weakspot.types import Sample, Subset, Task
from weakspot.utils import console
from weakspot.utils.files import shown
from weakspot.utils.patterns import found_text

NEAR_DUPLICATES = ("together", "report", "ignore")
"""What to do about photographs of the same part: keep them in one subset, only warn, or do not search for them."""


@dataclass(frozen=True)
class Data:
    """A data set with its split, ready for training.

    Attributes:
        samples, infos, subsets, targets: lists in the same order, one entry for each image.
        classes: class names, ``good`` first.
        root: folder that paths in ``split.csv`` are relative to.
        data_hash: over the content and the label of every image (hexadecimal).
        truth_hash: over every mask; masks are only measured against, so they do not identify a model.
        split_hash: over which image is in which subset.
        near_duplicates: photographs of the same part, by position; None where none were searched for.
        warnings: what a user should know about data and split, one sentence each.
        corrections: what a person drew or corrected in training pictures.
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
    warnings: tuple[str, ...] = ()
    corrections: Corrections = field(default_factory=Corrections)

    @property
    def groups(self) -> list[int]:
        """The number of the group that each image belongs to; near-duplicates share a group."""
        near = self.near_duplicates
        return group_numbers(self.samples if near is None else joined_groups(self.samples, near))

    @property
    def near_training_image(self) -> list[bool]:
        """For each image, whether it is outside the training subset and has a near-duplicate inside it."""
        if self.near_duplicates is None:
            return [False] * len(self.samples)
        groups = self.near_duplicates.groups()
        seen = {groups[i] for i in self.indices("train")}
        return [subset != "train" and group in seen for subset, group in zip(self.subsets, groups, strict=True)]

    def leakage(self) -> dict[str, Any] | None:
        """Describe the near-duplicates for ``run.json``; None where none were searched for."""
        found = self.near_duplicates
        if found is None:
            return None
        held_out = [
            portable(sample.path, self.root)
            for sample, near in zip(self.samples, self.near_training_image, strict=True)
            if near
        ]
        return leak_record(found, held_out)

    @property
    def identical_across_subsets(self) -> int:
        """Number of images outside the training subset whose file is identical, byte for byte, to one inside it."""
        seen = {self.infos[i].sha256 for i in self.indices("train")}
        return sum(
            info.sha256 in seen for info, subset in zip(self.infos, self.subsets, strict=True) if subset != "train"
        )

    def indices(self, subset: Subset) -> list[int]:
        """Positions of the images of a subset.

        Args:
            subset: ``train``, ``val`` or ``test``.
        """
        return [i for i, one in enumerate(self.subsets) if one == subset]

    def kinds(self, index: int) -> list[int]:
        """The class numbers of an image, one for each kind of defect in it; the first is its entry in `targets`.

        Args:
            index: position of the image.
        """
        return targets_of(self.samples[index], self.classes)


@dataclass(frozen=True)
class Indexed:
    """A data set that was read and found sound; its fields are those of :class:`Data`."""

    samples: list[Sample]
    infos: list[ImageInfo]
    root: Path
    data_hash: str
    truth_hash: str


def read_and_check(data: DataConfig) -> Indexed:
    """Read the configured data set; decode and hash every image.

    Args:
        data: the ``data`` group of the configuration.

    Raises:
        WeakspotError: for an unknown layout, a missing folder, a misspelt subset, an empty class, a bad image or mask.
    """
    check_options(data.layout, data.options)  # before one of them can be taken for another argument
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
    truth = hashlib.sha256()
    for line in sorted(f"{i.sha256} {_file_hash(s.mask)}" for i, s in zip(infos, samples, strict=True) if s.mask):
        truth.update(line.encode())
    return Indexed(samples, infos, root, _labels_hash(samples, infos), truth.hexdigest())


def _labels_hash(samples: Sequence[Sample], infos: Sequence[ImageInfo]) -> str:
    """Over the content and the label of every image."""
    digest = hashlib.sha256()
    for line in sorted(f"{info.sha256} {sample.defect}" for info, sample in zip(infos, samples, strict=True)):
        digest.update(line.encode("utf-8", "surrogateescape"))  # a folder's name need not be UTF-8
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def index_and_split(settings: DataConfig, split: SplitConfig, cache_folder: Path | None = None) -> Data:
    """Read and check the data set, and decide which images are held out.

    Args:
        settings: the ``data`` group of the configuration.
        split: the ``split`` group of the configuration.
        cache_folder: where the near-duplicates that were found are kept; None keeps nothing.

    Raises:
        WeakspotError: as :func:`read_and_check`, for a group pattern that fits no image, and when the split is
            impossible.
    """
    one_of("data.task", settings.task, ("binary", "multiclass"))
    policy = one_of("split.near_duplicates", split.near_duplicates, NEAR_DUPLICATES)
    indexed = read_and_check(settings)
    samples, dark = with_groups(indexed.samples, settings.group, indexed.root), depth_warning(indexed.infos)
    warnings = [] if dark is None else [dark]
    near = None if policy == "ignore" else near_duplicates(indexed.infos, cache_folder)
    if near is not None and not near.tells_groups:
        warnings.append(
            f"warning: {near.repeated} of {near.images} images look alike down to their surface, so the search cannot "
            "tell one part from another, and nothing was grouped (data.group=REGEX names the parts)"
        )
        near = None
    if near is not None and policy == "together":
        samples = joined_groups(samples, near)
    classes = class_names(samples, cast(Task, settings.task))
    if split.file is not None:
        samples = with_subsets(samples, Path(split.file).expanduser(), indexed.root)
    subsets = split_samples(
        samples, test_size=split.test_size, val_size=split.val_size, seed=split.seed, folds=split.folds, fold=split.fold
    )
    found_split = split_hash(samples, subsets, indexed.root)
    corrections = _corrections(settings, samples, indexed, subsets, classes)
    if corrections.labels:  # after the split, which corrections must not change
        samples = relabelled(samples, corrections.labels)
    data = Data(
        samples=samples,
        infos=indexed.infos,
        subsets=subsets,
        targets=[target_of(sample, classes) for sample in samples],
        classes=classes,
        root=indexed.root,
        data_hash=_labels_hash(samples, indexed.infos),
        truth_hash=indexed.truth_hash,
        split_hash=found_split,
        near_duplicates=near,
        corrections=corrections,
    )
    return replace(data, warnings=(*warnings, *_split_warnings(data), *corrections.remarks))


def _corrections(
    settings: DataConfig,
    samples: Sequence[Sample],
    indexed: Indexed,
    subsets: Sequence[Subset],
    classes: Sequence[str],
) -> Corrections:
    """What a person drew or corrected, where the configuration names any."""
    if settings.use_masks is not None:
        one_of("data.use_masks", settings.use_masks, ("train",))
    files = as_files(settings.annotations)
    return read_corrections(
        samples,
        indexed.infos,
        subsets,
        files,
        use_masks=settings.use_masks is not None,
        good_class=settings.good_class,
        classes=classes,
    )


def _split_warnings(data: Data) -> list[str]:
    """What held-out and training images share, and what the training subset lacks."""
    found = []
    if data.identical_across_subsets:
        found.append(
            f"warning: {data.identical_across_subsets} held-out images are exact copies of training images; the "
            "numbers will flatter ('weakspot check' counts duplicates)"
        )
    shared, near = sum(data.near_training_image), data.near_duplicates
    if shared:
        given = data.samples[0].subset is not None
        way_out = "the subsets were given" if given else "split.near_duplicates=together keeps each part in one subset"
        found.append(
            f"warning: {shared} of {len(data.samples) - len(data.indices('train'))} held-out images show a part that "
            "training images show too (their surface agrees: another exposure, another frame); the numbers will "
            f"flatter ({way_out})"
        )
    elif near is not None and near.pairs:
        found.append(
            f"near-duplicates: {certain_words(near)}; each group is kept in one subset; {TURNED} by data.group"
        )
    if near is not None and near.possible:
        found.append(f"near-duplicates: {possible_words(near)}; they are not grouped")
    missing = set(data.classes) - {data.classes[target] for i in data.indices("train") for target in data.kinds(i)}
    found += [f"warning: no training image is of class {name!r}; it will not be recognised" for name in sorted(missing)]
    return found


def with_groups(samples: Sequence[Sample], pattern: str | None, root: Path) -> list[Sample]:
    """Give samples the groups that their paths name.

    Args:
        samples: the samples, each with its path.
        pattern: regular expression that is searched for in each path relative to `root` (forward slashes); what its
            first pair of brackets matches is the group, or the whole match where there are no brackets. None changes
            nothing.
        root: folder of the data set.

    Raises:
        WeakspotError: when the pattern is no regular expression, or fits no image.
    """
    if pattern is None:
        return list(samples)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise WeakspotError(f"data.group={pattern} is not a regular expression ({error})") from error
    found = [found_text(expression, portable(sample.path, root)) for sample in samples]
    if all(text is None for text in found):
        raise WeakspotError(f"data.group={pattern} fits no image, {shown(samples[0].path)} for one")
    return [
        sample if text is None else replace(sample, group=text) for sample, text in zip(samples, found, strict=True)
    ]


def joined_groups(samples: Sequence[Sample], near: NearDuplicates) -> list[Sample]:
    """Put near-duplicates into one group, together with the groups that they belong to already.

    Args:
        samples: the samples; a ``group`` that they have already counts.
        near: near-duplicates among them, by position.

    Returns:
        The samples, in order; one that is alone in its group has none.
    """
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
        sample if sizes[label] == 1 else replace(sample, group=f"group {label}")
        for sample, label in zip(samples, labels, strict=True)
    ]
