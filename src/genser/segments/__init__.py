"""Emotion over time: from a recording or a live stream to timed segments; no torch."""
