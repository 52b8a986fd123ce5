"""The Lightning wrapper round :class:`weakspot.models.network.CamNet`: loss, optimiser, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from weakspot.errors import WeakspotError
from weakspot.models.network import CamNet

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class BalancedAccuracy(MulticlassConfusionMatrix):
    """Mean recall over the classes that occur; torchmetrics' macro accuracy also counts one that is only predicted."""

    def compute(self) -> Tensor:
        """A scalar in 0…1; NaN before the first batch."""
        counts = super().compute()
        true = counts.sum(dim=1)
        return (counts.diagonal() / true)[true > 0].mean()


class MeanLoss(Metric):
    """Mean loss over images, from the mean losses of batches.

    Lightning's own mean rounds the number of images where processes have seen different numbers; torchmetrics' mean
    leaves NaN out or forgets the weights.
    """

    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        for state in ("total", "images"):
            self.add_state(state, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, images: int) -> None:
        """Add a batch.

        Args:
            loss: mean over the batch, a scalar.
            images: number of images in it.
        """
        self.total += loss * images
        self.images += images

    def compute(self) -> Tensor:
        """A scalar; NaN before the first batch."""
        return self.total / self.images


class ClassifierModule(pl.LightningModule):
    """Trains the tail and the dense layer with class-weighted cross-entropy; a loss that is no number ends it.

    Args:
        network: logits and maps in one pass; its stem stays frozen.
        class_weights: one weight for each class, Good first.
        optimizer: makes the optimiser from the trained parameters.
        on_features: True where batches hold frozen features rather than images.
        schedule: ``constant``, or ``cosine``: the learning rate falls to zero over the whole training (Loshchilov and
            Hutter, "SGDR", ICLR 2017), so that the last epochs settle instead of jumping about.

    A batch is ``(inputs, targets)``: float32 ``(n, 3, H, W)`` or ``(n, channels, h, w)``, and int64 ``(n,)``.
    Logged each epoch: ``train/loss``, ``train/accuracy``, ``train/balanced_accuracy``, ``val/loss``,
    ``val/balanced_accuracy``; those of the training subset are taken while the weights change.
    """

    class_weights: Tensor

    def __init__(
        self,
        network: CamNet,
        class_weights: Sequence[float],
        optimizer: OptimizerFactory,
        *,
        on_features: bool,
        schedule: str = "constant",
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.on_features, self.schedule = on_features, schedule
        self.register_buffer("class_weights", torch.tensor(class_weights, dtype=torch.float32), persistent=False)
        self.train_loss, self.val_loss = MeanLoss(), MeanLoss()
        self.train_accuracy = MulticlassAccuracy(num_classes=network.classes, average="micro")
        self.train_balanced = BalancedAccuracy(num_classes=network.classes)
        self.val_balanced = BalancedAccuracy(num_classes=network.classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of a batch of images or features."""
        run = self.network.forward_tail if self.on_features else self.network
        logits: Tensor = run(inputs).logits
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of one batch."""
        inputs, targets = batch
        logits = self(inputs)
        loss, share = self._loss(logits, targets)
        if not torch.isfinite(loss):
            raise self._diverged(
                f"the loss is {loss.item()} in epoch {self.current_epoch + 1}, batch {batch_index + 1}"
            )
        if len(targets):
            self.train_loss.update(loss.detach(), len(targets))
            self.train_accuracy.update(logits, targets)
            self.train_balanced.update(logits, targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/balanced_accuracy", self.train_balanced, on_step=False, on_epoch=True)
        return share

    def _loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Class-weighted mean loss of the whole batch, and what this process is to minimise.

        With one process they are the same. With several, DDP averages the gradients of the processes; so that the
        average is the whole batch's gradient, each process weighs its share's sum of losses by the sum of weights of
        all shares, times the number of processes.
        """
        processes = self._trainer.world_size if self._trainer else 1
        if processes == 1:
            loss = functional.cross_entropy(logits, targets, weight=self.class_weights)
            return loss, loss
        losses = functional.cross_entropy(logits, targets, weight=self.class_weights, reduction="sum")
        sums = torch.stack([losses.detach(), self.class_weights[targets].sum()])
        whole = self.trainer.strategy.reduce(sums, reduce_op="sum")
        assert isinstance(whole, Tensor)  # noqa: S101 - for mypy; it is what it was
        return whole[0] / whole[1], losses * processes / whole[1]

    def on_train_epoch_end(self) -> None:
        """Before the checkpoint is written: one of weights that are no numbers would replace the last good one.

        Raises:
            WeakspotError: when the last step of the epoch made them so.
        """
        for name, values in self.network.state_dict().items():
            if not torch.isfinite(values).all():
                raise self._diverged(f"{name} is not finite after epoch {self.current_epoch + 1}")

    def _diverged(self, what: str) -> WeakspotError:
        kept = f" (checkpoints/ holds epoch {self.current_epoch})" if self.current_epoch else ""
        return WeakspotError(f"training diverged: {what}; lower model.optimizer.lr{kept}")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Log loss and balanced accuracy of the validation subset."""
        inputs, targets = batch
        logits = self(inputs)
        loss, _ = self._loss(logits, targets)
        if len(targets):
            self.val_loss.update(loss, len(targets))
            self.val_balanced.update(logits, targets)
        self.log("val/loss", self.val_loss, prog_bar=True)
        self.log("val/balanced_accuracy", self.val_balanced, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over whatever is not frozen, and its schedule."""
        optimizer = self.optimizer([p for p in self.network.parameters() if p.requires_grad])
        if self.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def class_weights(setting: str | Sequence[float], targets: Sequence[int], classes: int) -> list[float]:
    """Make the weights of the loss, one for each class.

    Args:
        setting: ``balanced`` (n / (classes × n_class), as scikit-learn has it), or a list of numbers: one for each
            class, or two (Good, every defect class).
        targets: class number of every training image.
        classes: number of classes.

    Raises:
        WeakspotError: for another setting, a wrong number of weights, or a weight that is not positive.
    """
    if isinstance(setting, str):
        if setting != "balanced":
            raise WeakspotError(f"model.class_weights={setting} is neither 'balanced' nor a list such as [1,3]")
        counts = [max(1, sum(1 for target in targets if target == k)) for k in range(classes)]
        return [len(targets) / (classes * count) for count in counts]
    weights = [float(weight) for weight in setting]
    if len(weights) == 2 and classes > 2:
        weights = [weights[0]] + [weights[1]] * (classes - 1)
    if len(weights) != classes or min(weights) <= 0:
        raise WeakspotError(f"model.class_weights={list(setting)} must be {classes} positive numbers, Good first")
    return weights
