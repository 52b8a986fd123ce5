"""The deployable model: ``model.safetensors`` and ``model.json`` in one folder. Nothing in it is a pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from weakspot.errors import WeakspotError
from weakspot.models.bundle_meta import (
    META_FILE,
    WEIGHTS_FILE,
    BundleMeta,
    find_bundle,
    read_meta,
    read_meta_file,
    rewrite_meta,
)
from weakspot.models.evidence import EvidenceNet, with_new_names
from weakspot.models.familiarity import FamiliarityHead
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.models.statistics import StatisticsHead
from weakspot.models.timm_networks import parameter_count
from weakspot.utils.files import atomic_path, write_json

__all__ = ["META_FILE", "BundleMeta", "find_bundle", "load_bundle", "read_meta", "rewrite_meta", "save_bundle"]

EVIDENCE_PREFIX, STATISTICS_PREFIX, FAMILIARITY_PREFIX = "evidence.", "statistics.", "familiarity."

MOST_TIMES = 4
"""A network of timm whose features have so many times the numbers of the file is not built: a name could take all
memory there is. What a few networks have behind their features and no head's name for is never that much."""


def save_bundle(folder: Path, model: Model, meta: BundleMeta) -> None:
    """Write a bundle; ``model.json`` comes last, so that a folder that has one is complete.

    Args:
        folder: where to write; made when it is missing.
        model: its tensors go into ``model.safetensors``.
        meta: everything else about the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = dict(model.network.state_dict())
    for prefix, head in (
        (EVIDENCE_PREFIX, model.evidence),
        (STATISTICS_PREFIX, model.statistics),
        (FAMILIARITY_PREFIX, model.familiarity),
    ):
        if head is not None:
            state |= {prefix + name: tensor for name, tensor in head.state_dict().items()}
    content = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(content)
    write_json(folder / META_FILE, meta.to_dict() | {"sha256": hashlib.sha256(content).hexdigest()})


def load_bundle(folder: Path) -> tuple[Model, BundleMeta]:
    """Read a bundle, check it, and build the model in evaluation mode on the CPU.

    Args:
        folder: a bundle, or a run folder with one in ``bundle/``.

    Raises:
        WeakspotError: when there is none, or it is damaged; the message names the file.
    """
    folder = find_bundle(folder)
    weights_path = folder / WEIGHTS_FILE
    meta, sha256 = read_meta_file(folder / META_FILE)
    try:
        content = weights_path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise WeakspotError(f"{weights_path} is damaged: it does not match {META_FILE}; copy the bundle again")
        state = load_tensors(content)
        if parameter_count(meta.backbone) > MOST_TIMES * sum(tensor.numel() for tensor in state.values()):
            raise WeakspotError(f"{weights_path} cannot be used: it does not hold a network {meta.backbone}")
        network = CamNet(meta.backbone, len(meta.classes), meta.outputs)
        network.tile = meta.preprocess.tile
        spoilt = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
        if spoilt:
            raise WeakspotError(f"{weights_path} cannot be used: {spoilt[0]} holds NaN or infinity; train again")
        prefixes = EVIDENCE_PREFIX, STATISTICS_PREFIX, FAMILIARITY_PREFIX
        of_evidence, of_statistics, of_familiarity = (_taken(state, prefix) for prefix in prefixes)
        network.load_state_dict(state)
        evidence = statistics = familiarity = None
        if meta.evidence is not None:
            evidence = EvidenceNet(**meta.evidence)
            evidence.load_state_dict(with_new_names(of_evidence))
            evidence.eval()
        if meta.statistics is not None:
            statistics = StatisticsHead(**meta.statistics)
            statistics.load_state_dict(of_statistics)
            statistics.eval()
        if meta.familiarity is not None:
            familiarity = FamiliarityHead(meta.familiarity.taps, meta.familiarity.channels, meta.familiarity.ranks)
            familiarity.load_state_dict(of_familiarity)
        model = Model(network.eval(), evidence, statistics, familiarity)
        if unknown := [tap for tap in model.taps if tap not in network.taps]:
            raise ValueError(f"{meta.backbone} has no features called {unknown[0]}")
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise WeakspotError(f"{weights_path} cannot be used: {str(error).splitlines()[0]}") from error
    return model, meta


def _taken(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors of one head out of the state; their names lose the prefix."""
    names = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): state.pop(name) for name in names}
