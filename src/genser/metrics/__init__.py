"""Accuracy, calibration and bootstrap intervals; NumPy only."""
