"""Every kind of head by name. To add a kind, write a subclass of :class:`genser.model.head.Head` and list it here."""

from genser.errors import ConfigError
from genser.model.baselines import (
    FlatHead,
    LinearHead,
    MajorityHead,
    MlpHead,
    NetworkHead,
    RegressionHead,
    RidgeHead,
)
from genser.model.diffusion_head import DiffusionHead
from genser.model.head import Head, HeadConfig
from genser.model.latent_flow_head import LatentFlowHead
from genser.model.transport_head import TransportHead
from genser.plugins import Registry

HEADS: Registry[type[Head]] = Registry(
    {
        "transport": TransportHead,
        "ridge": RidgeHead,
        "linear": LinearHead,
        "flat": FlatHead,
        "mlp": MlpHead,
        "network": NetworkHead,
        "regression": RegressionHead,
        "diffusion": DiffusionHead,
        "latent-flow": LatentFlowHead,
        "majority": MajorityHead,
    },
    group="genser.heads",
    kind=Head,
)
"""Kind → class; also those of entry points of other packages."""


def make_head(config: HeadConfig) -> Head:
    """Make a head of the kind that its configuration names, with fresh weights.

    Raises:
        ConfigError: There is no head of that kind.
    """
    if config.kind not in HEADS:
        raise ConfigError(f"There is no head {config.kind!r}: use one of {', '.join(HEADS)}.")
    return HEADS[config.kind](config)
