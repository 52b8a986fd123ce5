"""Public data sets as their makers ship them: what lies where in the tree, the licence, and where they are to be had.

A tree is recognised, and a wrong one refused, by the names of a few files and folders alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weakspot.data.folders import base_folder
from weakspot.data.images import subfolders
from weakspot.errors import WeakspotError
from weakspot.types import GOOD
from weakspot.utils.files import shown


@dataclass(frozen=True)
class PublicSet:
    """The tree of a public data set.

    Attributes:
        title: as people call it.
        licence: in short.
        address: where it is to be had.
        holds: what lies in the folder of one data set, as patterns of :meth:`pathlib.Path.glob`.
        labels: what images are called in its samples, sorted, as far as it is known beforehand.
        subsets: names of the data sets in it, where only these names tell it from others; empty where any name will do.
        inside: the folder that holds everything, where the makers put the data beside other things.
    """

    title: str
    licence: str
    address: str
    holds: tuple[str, ...]
    labels: tuple[str, ...] = ("defect", GOOD)
    subsets: tuple[str, ...] = ()
    inside: str | None = None

    def base(self, folder: Path) -> Path:
        """The folder with the data itself.

        Args:
            folder: that the makers ship.
        """
        return folder / self.inside if self.inside and (folder / self.inside).is_dir() else folder

    def missing(self, folder: Path) -> list[str]:
        """What should lie in a folder and does not; empty where the folder holds a data set of this kind.

        Args:
            folder: any folder.
        """
        base = self.base(folder)
        return [pattern for pattern in self.holds if next(base.glob(pattern), None) is None]

    def recognises(self, folder: Path) -> bool:
        """Whether a folder is one data set of this kind by what lies in it and, where that is not enough, by its name.

        Args:
            folder: any folder.
        """
        return (not self.subsets or folder.absolute().name in self.subsets) and not self.missing(folder)

    @property
    def words(self) -> str:
        """Title and licence, for people."""
        return f"{self.title} ({self.licence})"


_NON_COMMERCIAL = "CC BY-NC-SA 4.0"

PUBLIC: dict[str, PublicSet] = {
    "visa": PublicSet(
        "VisA",
        "CC BY 4.0",
        "https://github.com/amazon-science/spot-diff",
        ("Data/Images/Normal", "Data/Images/Anomaly"),
        ("anomaly", GOOD),
    ),
    "btad": PublicSet(
        "BTAD",
        "CC BY-SA 4.0",
        "https://github.com/pankajmishra000/VT-ADL",
        ("train/ok", "test/ok", "test/ko", "ground_truth/ko"),
        (GOOD, "ko"),
        ("01", "02", "03"),
    ),
    "mpdd": PublicSet(
        "MPDD",
        "no licence stated",
        "https://github.com/stepanje/MPDD",
        ("train/good", "test/good", "ground_truth"),
        subsets=("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"),
    ),
    "mvtec_ad_2": PublicSet(
        "MVTec AD 2",
        _NON_COMMERCIAL,
        "https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        ("train/good", "test_public/good", "test_public/bad", "test_public/ground_truth/bad"),
        ("bad", GOOD),
    ),
    "mvtec_loco": PublicSet(
        "MVTec LOCO AD",
        _NON_COMMERCIAL,
        "https://www.mvtec.com/company/research/datasets/mvtec-loco",
        ("train/good", "test/good", "test/logical_anomalies", "test/structural_anomalies", "ground_truth"),
        (GOOD, "logical_anomalies", "structural_anomalies"),
    ),
    "kolektor_sdd": PublicSet(
        "KolektorSDD",
        _NON_COMMERCIAL,
        "https://www.vicos.si/resources/kolektorsdd/",
        ("kos*/Part*.jpg", "kos*/Part*_label.bmp"),
    ),
    "kolektor_sdd2": PublicSet(
        "KolektorSDD2",
        _NON_COMMERCIAL,
        "https://www.vicos.si/resources/kolektorsdd2/",
        ("train/*_GT.png", "test/*_GT.png"),
    ),
    "dagm": PublicSet(
        "DAGM 2007",
        "publicly available",
        "https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection",
        ("Train/Label", "Test/Label"),
    ),
    "severstal": PublicSet(
        "Severstal: Steel Defect Detection",
        "rules of the competition",
        "https://www.kaggle.com/c/severstal-steel-defect-detection",
        ("train.csv", "train_images"),
    ),
    "deeppcb": PublicSet(
        "DeepPCB",
        "for research only",
        "https://github.com/tangsanli5201/DeepPCB",
        ("trainval.txt", "test.txt", "group*"),
        inside="PCBData",
    ),
    "bsdata": PublicSet(
        "BSData",
        "CC BY-SA 4.0",
        "https://github.com/2Obe/BSData",
        ("data/*_crop_[12].jpg", "label/*.json"),
        (GOOD, "pitting"),
    ),
}
"""The public data sets by the name of their layout."""


def recognised(folder: Path) -> list[tuple[Path, str]]:
    """The public data sets at or right below a folder, each with the name of its layout; empty where there are none.

    Args:
        folder: an existing folder.
    """
    for candidates in ([folder], subfolders(folder)):
        found = [(each, name) for each in candidates for name, known in PUBLIC.items() if known.recognises(each)]
        if found:
            return found
    return []


def located(root: Path | None, subset: str | None, layout: str) -> Path:
    """The folder with the data of a public data set.

    Args:
        root: as ``data.root``.
        subset: as ``data.subset``.
        layout: a name in :data:`PUBLIC`.

    Returns:
        A folder that holds what the makers put there.

    Raises:
        WeakspotError: when it is not there or holds something else; the message names what was expected where.
    """
    known = PUBLIC[layout]
    source = f"{known.title} is at {known.address} ({known.licence})"
    if root is None:
        raise WeakspotError(f"data.root is not set: give the folder of {known.title}, data.root=…; {source}")
    base = base_folder(root, subset, known.subsets, source)
    missing = known.missing(base)
    if not missing:
        return known.base(base)
    below = [child.name for child in subfolders(base) if not known.missing(child)]
    if below and subset is None:
        raise WeakspotError(f"data.subset is not set; {shown(base)} holds: {', '.join(below)}")
    raise WeakspotError(
        f"{shown(known.base(base))} is not laid out like {known.title}: expected {', '.join(known.holds)} in it, and "
        f"there is no {missing[0]}; {source}"
    )
