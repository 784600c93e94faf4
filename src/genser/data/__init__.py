"""Manifests, corpora, splits, labels and stored features."""
