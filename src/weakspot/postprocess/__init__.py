"""From a model's output to predictions: decision, boxes, trust, files. No torch, as exported models use it too."""
