"""Accuracy, calibration and their intervals; NumPy only."""
