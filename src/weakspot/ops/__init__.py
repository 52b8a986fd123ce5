"""Functions on maps and boxes: resizing, regions, IoU, which map to look at. NumPy and OpenCV only."""
