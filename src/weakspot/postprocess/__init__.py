"""From a model's output to predictions: decision, boxes, trust, files. No torch, so that exported models use it too."""
