"""Bulk recognition and features: manifests, folders and buckets to Parquet shards, on one machine or on many."""

from genser.scale.run import Report, process

__all__ = ["Report", "process"]
