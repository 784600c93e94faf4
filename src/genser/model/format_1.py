"""Translates model folders of format 1, written by genser 0.1, to the present names. To be deleted with genser 0.3."""

from collections.abc import Mapping
from typing import Any

from genser.errors import ConfigError

FIELDS = {
    "front": "feature_transform",
    "anchor": "ridge_prior",
    "power": "exponent",
    "foreign_power": "out_of_domain_exponent",
    "familiarity": "in_domain_components",
    "members": "ensemble",
}
MODULES = {"standardizer": "feature_transform", "anchor": "ridge_prior", "familiarity": "in_domain"}
BUFFERS = {"familiarity.usual": "in_domain.residual_variance"}
REMOVED = {"code": "sinusoidal", "floor": 0.0}
"""Settings of format 1 that are gone, with the only value that can still be read."""


def present_config(head: Mapping[str, Any]) -> dict[str, Any]:
    """Head configuration under the present names.

    Raises:
        ConfigError: The head uses a setting that is gone.
    """
    config = {FIELDS.get(name, name): value for name, value in head.items()}
    config["estimator"] = {FIELDS.get(name, name): value for name, value in head["estimator"].items()}
    for name, readable in REMOVED.items():
        if config.pop(name, readable) != readable:
            raise ConfigError(f"{name} {head[name]!r} is no longer supported. Train the model again.")
    return config


def present_tensors(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of a head under the present names of its modules."""
    present = {}
    for name, tensor in tensors.items():
        module, dot, rest = name.partition(".")
        present[BUFFERS.get(name, f"{MODULES.get(module, module)}{dot}{rest}")] = tensor
    return present
