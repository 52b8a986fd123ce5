"""What a person drew or corrected in training pictures, to learn from: ``data.annotations`` and ``data.use_masks``.

Nothing of a test picture is learnt from, whatever it is called: files are compared by content. Pictures of the
validation subset stay held out; only their labels are corrected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weakspot.data.annotation_folders import read_annotation_folder
from weakspot.data.annotation_matching import Matched, match_annotations
from weakspot.data.annotations import Annotation, read_annotations
from weakspot.data.classes import SEPARATOR, kinds_of
from weakspot.data.images import ImageInfo, read_mask
from weakspot.errors import WeakspotError
from weakspot.types import ANOMALY, GOOD, Sample, Subset
from weakspot.utils.files import shown

KEY = "data.annotations"


@dataclass(frozen=True)
class Corrections:
    """What is learnt from besides labels.

    Attributes:
        drawn: what is drawn in training pictures, by position; each has at least one box or mask, and what lies outside
            all of them is Good.
        labels: defect types by position, of training and validation pictures whose label was wrong.
        remarks: what a user should know, one sentence each.
    """

    drawn: dict[int, Annotation] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is anything to learn from besides labels as they were."""
        return bool(self.drawn or self.labels)

    @property
    def counts(self) -> dict[str, int]:
        """Number of boxes, masks, pictures with any, and corrected labels; for ``metrics.json`` and the bundle."""
        shapes = [shape for annotation in self.drawn.values() for shape in annotation.shapes]
        masks = sum(shape is not None for shape in shapes)
        return {
            "boxes": len(shapes) - masks,
            "masks": masks,
            "pictures": len(self.drawn),
            "corrected_labels": len(self.labels),
        }

    def identity(self, infos: Sequence[ImageInfo]) -> str:
        """A hash over everything that is drawn and where; hexadecimal. Names of files do not count.

        Args:
            infos: of all pictures.
        """
        digest = hashlib.sha256(b"2")  # goes up when the same drawings make another run
        for sha256, annotation in sorted(((infos[i].sha256, one) for i, one in self.drawn.items()), key=lambda p: p[0]):
            digest.update(f"{sha256} {annotation.size}".encode())
            for box, shape in zip(annotation.boxes, annotation.shapes, strict=True):
                digest.update(f" {box}".encode() if shape is None else shape.tobytes())
        return digest.hexdigest()


def learnt_from_words(counts: dict[str, int]) -> str:
    """Say what was learnt from besides labels.

    Args:
        counts: from :attr:`Corrections.counts`; empty where nothing was.

    Examples:
        >>> learnt_from_words({"boxes": 20, "masks": 5, "pictures": 22, "corrected_labels": 1})
        'learnt from 20 boxes and 5 masks in 22 pictures, and 1 corrected label'
        >>> learnt_from_words({})
        'learnt from labels alone'
    """
    boxes, masks, labels = (counts.get(key, 0) for key in ("boxes", "masks", "corrected_labels"))
    kinds = [_number(count, noun) for count, noun in ((boxes, "box"), (masks, "mask")) if count]
    drawn = f"{' and '.join(kinds)} in {_number(counts['pictures'], 'picture')}" if kinds else ""
    corrected = _number(labels, "corrected label") if labels else ""
    return "learnt from " + (", and ".join(part for part in (drawn, corrected) if part) or "labels alone")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('x') else 's'}"


def read_corrections(
    samples: Sequence[Sample],
    infos: Sequence[ImageInfo],
    subsets: Sequence[Subset],
    files: Sequence[Path],
    *,
    use_masks: bool = False,
    good_class: str = GOOD,
    classes: Sequence[str] = (GOOD, ANOMALY),
) -> Corrections:
    """Read what a person drew and corrected, and check all of it before anything is learnt.

    Args:
        samples: of all subsets.
        infos: of the same pictures.
        subsets: of each picture.
        files: COCO or Label Studio files, or folders of YOLO labels or Pascal VOC's XML.
        use_masks: whether the data set's own masks of training pictures are learnt from too, where nothing else is
            drawn.
        good_class: what the files may call Good, besides ``good``.
        classes: names of the classes, Good first. With several kinds of defects, a picture is of every kind that
            something is drawn as, unless the file gives it a class that is not among them.

    Raises:
        WeakspotError: for a damaged or foreign file, a picture of another size, something drawn in a Good picture, a
            picture that two files annotate, and for anything said about a test picture, or a copy of one.
    """
    tests = {info.sha256 for info, subset in zip(infos, subsets, strict=True) if subset == "test"}
    found: dict[int, Annotation] = {}
    sources: dict[int, Path] = {}
    remarks: list[str] = []
    for file in files:
        matched = _matched_annotations(file, samples, infos)
        _refuse_tests(matched, infos, tests, file)
        if twice := sorted(found.keys() & matched.found.keys()):
            raise WeakspotError(
                f"{shown(samples[twice[0]].path)} is annotated in {sources[twice[0]]} and in {file}; keep one"
            )
        found |= matched.found
        sources |= dict.fromkeys(matched.found, file)
        remarks += matched.remarks
        if others := matched.elsewhere:
            remarks.append(f"{file.name} annotates {len(others)} pictures that are not here, {others[0].name}")
    labels = _labels(found, samples, good_class, classes)
    drawn = {i: annotation for i, annotation in found.items() if annotation.boxes}
    for i, annotation in drawn.items():
        _check_drawn(annotation, samples[i], labels.get(i, samples[i].defect), infos[i], sources[i])
    learnt = {i: annotation for i, annotation in drawn.items() if subsets[i] == "train"}
    if len(learnt) < len(drawn):
        remarks.append(
            f"{len(drawn) - len(learnt)} annotated pictures are in the validation subset and stay held out; what is "
            "drawn in them is not learnt from"
        )
    if use_masks:
        learnt |= _masks(samples, infos, subsets, tests, {*found})
    return Corrections({i: learnt[i] for i in sorted(learnt)}, labels, tuple(remarks))


def relabelled(samples: Sequence[Sample], labels: dict[int, str]) -> list[Sample]:
    """The samples with their labels corrected; a mask of one that is Good after all goes.

    Args:
        samples: the samples.
        labels: defect types by position.
    """
    return [
        replace(sample, defect=labels[i], mask=None if labels[i] == GOOD else sample.mask) if i in labels else sample
        for i, sample in enumerate(samples)
    ]


def corrected_label(label: str, sample: Sample, good_class: str = GOOD) -> str:
    """The defect type that a corrected label stands for; a defective picture keeps its own unless another is named.

    Args:
        label: the class that a person gave the picture, as the annotation file writes it.
        sample: the picture, with its label so far.
        good_class: what the file may call Good, besides ``good``.

    Examples:
        >>> crack = Sample(Path("crack/a.png"), "crack")
        >>> [corrected_label(label, crack, "OK") for label in ("Anomaly", "hole", "ok", "Good")]
        ['crack', 'hole', 'good', 'good']
    """
    if label.casefold() in (GOOD, good_class.casefold()):
        return GOOD
    if label.casefold() == ANOMALY and not sample.is_good:
        return sample.defect
    return label


def _matched_annotations(file: Path, samples: Sequence[Sample], infos: Sequence[ImageInfo]) -> Matched:
    """What a person drew, corrected or confirmed according to a file."""
    paths = [sample.path for sample in samples]
    if file.is_dir():
        every = read_annotation_folder(file, paths, [(info.height, info.width) for info in infos], KEY)
    else:
        every = read_annotations(file, KEY)
    said = [one for one in every if one.reviewed is not False and (one.boxes or one.label is not None or one.reviewed)]
    if not said:
        raise WeakspotError(f"{KEY}={file} says nothing that a person drew, corrected or confirmed; review some first")
    return match_annotations(said, paths, [info.sha256 for info in infos], file, KEY)


def _refuse_tests(matched: Matched, infos: Sequence[ImageInfo], tests: set[str], file: Path) -> None:
    """Refuse test pictures and copies of them, those too that are not in the data; and a file of other data."""
    for i, annotation in matched.found.items():
        if infos[i].sha256 in tests:
            raise _refused(annotation.name, file)
    for annotation in matched.elsewhere:  # no path in a file is opened; what is not in the data teaches nothing anyway
        if annotation.sha256 in tests:
            raise _refused(annotation.name, file)
    if not matched.found:
        raise WeakspotError(
            f"{KEY}={file}: none of its {len(matched.elsewhere)} annotated pictures is among the data, "
            f"{matched.elsewhere[0].name} for one; names and folders must be those of the pictures"
        )


def _refused(name: str, file: Path) -> WeakspotError:
    return WeakspotError(
        f"{KEY}={file}: {name} is a test picture, or a copy of one; nothing is learnt from these, so take it out "
        "of the file (split.csv of a run says which they are)"
    )


def _labels(
    found: dict[int, Annotation], samples: Sequence[Sample], good_class: str, classes: Sequence[str]
) -> dict[int, str]:
    """The labels that differ from those of the data."""
    labels = {}
    for i, one in found.items():
        given = None if one.label is None else corrected_label(one.label, samples[i], good_class)
        label = _with_drawn_kinds(given, one, samples[i], classes)
        if label is not None and label != samples[i].defect:
            labels[i] = label
    return labels


def _with_drawn_kinds(given: str | None, annotation: Annotation, sample: Sample, classes: Sequence[str]) -> str | None:
    """The label with every kind that something is drawn as; `given` where that says nothing or contradicts it."""
    kinds = set(annotation.kinds)
    if len(classes) < 3 or not kinds or not kinds <= set(classes[1:]) or (given or sample.defect) == GOOD:
        return given
    before = set(kinds_of(sample if given is None else replace(sample, defect=given)))
    if before == kinds or (given is not None and not before <= kinds):
        return given
    return SEPARATOR.join(sorted(kind for kind in kinds if kind is not None))


def _check_drawn(annotation: Annotation, sample: Sample, defect: str, info: ImageInfo, file: Path) -> None:
    if defect == GOOD:
        raise WeakspotError(
            f"{KEY}={file}: {shown(sample.path)} is labelled good, but a defect is marked in it; mend one of the two"
        )
    size = info.height, info.width
    if tuple(annotation.size) != size:
        raise WeakspotError(
            f"{KEY}={file}: {annotation.name} is {annotation.size[0]}×{annotation.size[1]} (height×width) as "
            f"annotated, the picture is {size[0]}×{size[1]}; annotate the picture as it is"
        )


def _masks(
    samples: Sequence[Sample],
    infos: Sequence[ImageInfo],
    subsets: Sequence[Subset],
    tests: set[str],
    taken: set[int],
) -> dict[int, Annotation]:
    """The data set's masks of training pictures; what was reviewed stays as it was reviewed."""
    found: dict[int, Annotation] = {}
    for i, (sample, info, subset) in enumerate(zip(samples, infos, subsets, strict=True)):
        if subset != "train" or sample.mask is None or i in taken or info.sha256 in tests:
            continue
        annotation = Annotation(str(sample.path), (info.height, info.width))
        annotation.add_mask(read_mask(sample.mask, annotation.size))
        if annotation.boxes:
            found[i] = annotation
    return found


def as_files(setting: Any) -> list[Path]:  # noqa: ANN401 - whatever the user wrote
    """Read ``data.annotations``: None, a file or a folder, or a list of them.

    Raises:
        WeakspotError: for anything else, and for one that does not exist.
    """
    values = [] if setting is None else [setting] if isinstance(setting, str | Path) else setting
    if not isinstance(values, list | tuple) or not all(isinstance(value, str | Path) for value in values):
        raise WeakspotError(f"{KEY}={setting} must be a file or a list of files such as [a.json,b.json]")
    files = [Path(value).expanduser() for value in values]
    for file in files:
        if not file.exists():
            raise WeakspotError(f"{KEY}={file}: no such file; check the name")
    return files
