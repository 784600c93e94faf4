"""Predictions and timelines as files and pictures."""
