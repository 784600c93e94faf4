"""Writes predictions and timelines as text, tables, annotations and pictures."""
