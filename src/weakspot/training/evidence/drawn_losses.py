"""Losses for what a person drew: masks say every pixel, boxes say what boxes can.

Outside of every box is Good. Inside, every row and every column of a box crosses the defect: the projection loss of
Tian et al., "BoxInst" (CVPR 2021), which after Hsu et al., "Weakly Supervised Instance Segmentation using the Bounding
Box Tightness Prior" (NeurIPS 2019), is also the tightness of a box. How far the defect reaches between its outermost
points is told by colour: neighbours of about the same colour belong to the same side (BoxInst's pairwise loss).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from weakspot.training.evidence.targets import Rectangle, Target

SIMILAR = 0.3
"""Neighbours whose colour agrees by more than this are taken for the same side (BoxInst: 0.3)."""

STEEPNESS = 4.0
"""Agreement of colours falls as ``exp(−STEEPNESS × difference)``, in units of the pictures' spread."""


def drawn_loss(logits: Tensor, targets: Sequence[Target], pixels: Tensor | None = None) -> Tensor:
    """Loss of a head's output in annotated pictures, or in windows of them.

    Args:
        logits: ``(batch, 1, H, W)``.
        targets: on the same grid, one for each.
        pixels: ``(batch, 3, H, W)``, centred colours on the same grid; None leaves the pairwise loss out.

    Returns:
        A scalar: the mean over the batch.
    """
    mask, known = (
        torch.from_numpy(np.stack([getattr(target, name) for target in targets]))[:, None].to(logits.device)
        for name in ("mask", "known")
    )
    loss = (bce(logits, mask, reduction="none") * known).mean() + 0.5 * masked_dice(logits, mask, known)
    boxed = [box_loss(logits[i, 0], target, None if pixels is None else pixels[i]) for i, target in enumerate(targets)]
    return loss + torch.stack(boxed).mean()


def masked_dice(logits: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """Mean of 1 − Dice over the pictures with a mask, where they are known (Milletari et al., "V-Net", 3DV 2016).

    Args:
        logits: ``(batch, 1, H, W)``.
        mask: of the same shape, 0…1.
        known: of the same shape, 0 or 1.
    """
    axes = (1, 2, 3)
    found, wanted = torch.sigmoid(logits) * known, mask * known
    positive = wanted.sum(axes)
    loss = 1 - (2 * (found * wanted).sum(axes) + 1) / (found.sum(axes) + positive + 1)
    has = (positive > 0).float()
    return (loss * has).sum() / has.sum().clamp(min=1)


def box_loss(logits: Tensor, target: Target, pixels: Tensor | None = None) -> Tensor:
    """Loss of one picture inside of its boxes; 0 without one.

    Args:
        logits: ``(H, W)``.
        target: on the same grid.
        pixels: ``(3, H, W)``, centred colours on the same grid; None leaves the pairwise loss out.
    """
    losses = []
    for r0, r1, c0, c1 in target.boxes:
        inside = logits[r0:r1, c0:c1]
        loss = projection_loss(inside) + surround_loss(logits, target, (r0, r1, c0, c1))
        if pixels is not None:
            loss = loss + pairwise_loss(inside, pixels[:, r0:r1, c0:c1])
        losses.append(loss)
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def surround_loss(logits: Tensor, target: Target, box: Rectangle) -> Tensor:
    """What lies close round a box is Good; among all cells of a picture the few beside a small box would not count.

    Args:
        logits: ``(H, W)``.
        target: on the same grid; cells that are marked or inside of another box do not count.
        box: rows and columns of it.

    Returns:
        Mean cross-entropy against 0 of the cells that are at most the box's own height and width away from it, 2 at
        least.
    """
    r0, r1, c0, c1 = box
    down, across = max(2, r1 - r0), max(2, c1 - c0)
    rows, columns = slice(max(0, r0 - down), r1 + down), slice(max(0, c0 - across), c1 + across)
    good = torch.from_numpy(np.ascontiguousarray(1 - target.marked[rows, columns])).to(logits.device)
    return (functional.softplus(logits[rows, columns]) * good).sum() / good.sum().clamp(min=1)


def projection_loss(inside: Tensor) -> Tensor:
    """Every row and every column of a box crosses the defect.

    Args:
        inside: logits ``(h, w)`` of the cells of a box.

    Returns:
        Cross-entropy of the highest logit of each row and each column against 1, half of it from either.
    """
    return 0.5 * sum(
        (functional.softplus(-inside.amax(dim=axis)).mean() for axis in (0, 1)), start=torch.zeros(()).to(inside)
    )


def pairwise_loss(inside: Tensor, pixels: Tensor) -> Tensor:
    """Neighbours of about the same colour lie on the same side of the outline.

    Args:
        inside: logits ``(h, w)`` of the cells of a box.
        pixels: ``(3, h, w)``, their centred colours.

    Returns:
        Mean of −log P(same side) over neighbours, to the right and below, whose colours agree; 0 without any.
    """
    total, count = inside.sum() * 0, 0
    for axis in (0, 1):
        length = inside.shape[axis]
        if length < 2:
            continue
        one, other = inside.narrow(axis, 0, length - 1), inside.narrow(axis, 1, length - 1)
        difference = pixels.narrow(axis + 1, 0, length - 1) - pixels.narrow(axis + 1, 1, length - 1)
        similar = torch.exp(-STEEPNESS * difference.abs().mean(dim=0)) > SIMILAR
        # log(p q + (1 − p)(1 − q)) in logits, without leaving them
        both = functional.logsigmoid(one) + functional.logsigmoid(other)
        neither = functional.logsigmoid(-one) + functional.logsigmoid(-other)
        total = total - (torch.logaddexp(both, neither) * similar).sum()
        count += int(similar.sum())
    return total / max(1, count)
