"""Functions on maps and boxes: resizing, regions, IoU, and which map to show. NumPy and OpenCV only."""
