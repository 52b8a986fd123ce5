"""What is minimised and what is logged: against plain torch and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from weakspot.errors import WeakspotError
from weakspot.models.network import CamNet
from weakspot.training.lightning_module import BalancedAccuracy, ClassifierModule, class_weights


@pytest.mark.usefixtures("tiny")
def test_weighted_loss_is_torch_cross_entropy_and_the_stem_stays_frozen() -> None:
    network = CamNet("tiny")
    module = ClassifierModule(network, [1, 3], lambda p: torch.optim.Adam(p, lr=1e-2), on_features=False)
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images, targets = torch.randn(4, 3, 32, 48), torch.tensor([0, 1, 1, 0])
    loss = module.training_step((images, targets), 0)
    each = functional.cross_entropy(network(images).logits, targets, reduction="none")
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0])
    assert torch.allclose(loss, (each * weights).sum() / weights.sum())
    optimizer = module.configure_optimizers()
    loss.backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if not name.startswith("stem")}


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("classes", [2, 4])
def test_logged_balanced_accuracy_is_scikit_learn_s(classes: int) -> None:
    """Also where a class is predicted that does not occur."""
    rng = np.random.default_rng(classes)
    metric = BalancedAccuracy(num_classes=classes)
    targets, logits = rng.integers(0, classes - 1, 50), rng.normal(size=(50, classes)).astype(np.float32)
    for part in (slice(0, 7), slice(7, 50)):
        metric.update(torch.from_numpy(logits[part]), torch.from_numpy(targets[part]))
    assert float(metric.compute()) == pytest.approx(balanced_accuracy_score(targets, logits.argmax(1)))


def test_class_weights() -> None:
    assert class_weights([1, 3], [0, 1], 2) == [1, 3]
    assert class_weights([1, 3], [0, 1, 2], 3) == [1, 3, 3]
    assert class_weights("balanced", [0, 0, 0, 1], 2) == [4 / 6, 2.0]
    types = [0] * 7 + [1] * 2 + [2] * 3
    assert class_weights("balanced", types, 3) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(3), y=types).tolist()
    )
    for wrong in ("equal", [1], [1, 0], [1, 2, 3]):
        with pytest.raises(WeakspotError, match=r"model\.class_weights"):
            class_weights(wrong, [0, 1], 2)
