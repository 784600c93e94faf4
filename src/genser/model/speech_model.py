"""From waveform to class probabilities as one module; this module is what an exported ONNX graph computes."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from genser.encoders import SpeechEncoder
from genser.errors import ModelError
from genser.model.head import Head
from genser.model.speech_gate import SpeechGate
from genser.model.transport_head import TransportHead
from genser.model.unrolled import UnrolledTransport
from genser.transport.codes import probabilities, projections


class SpeechModel(nn.Module):
    """An encoder, a head and an optional speech gate.

    Args:
        encoder: Speech to pooled hidden states.
        head: Hidden states to class probabilities.
        gate: Hidden states to the probability that somebody speaks.
        unrolled: Whether what only depends on time is worked out beforehand, see :class:`UnrolledTransport`.
    """

    def __init__(
        self, encoder: SpeechEncoder, head: Head, gate: SpeechGate | None = None, unrolled: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.gate = encoder, head, gate
        self.transport = UnrolledTransport(head) if unrolled and isinstance(head, TransportHead) else None

    def forward(self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]) -> tuple[Tensor, ...]:
        """Recognise a padded batch of mono 16 kHz sound.

        Returns:
            Class probabilities (batch, classes); with a transport head, those read off at each time of the transport
            (batch, N + 1, classes) and the states x_t (batch, N + 1, dim); with a gate, the probability of speech
            (batch,); with an in-domain score, that score (batch,). :attr:`outputs` gives their names.
        """
        features = self.encoder(waveform, lengths)
        in_domain = self.head.in_domain_score(features)
        exponent = self.head.exponent(in_domain)
        if isinstance(self.head, TransportHead):
            outputs = self._transported(features, exponent)
        else:
            outputs = (probabilities(self.head.coordinates(features), exponent, self.head.config.floor),)
        speech = () if self.gate is None else (self.gate(features),)
        return (*outputs, *speech, *(() if in_domain is None else (in_domain,)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns."""
        transported = isinstance(self.head, TransportHead)
        optional = {
            "trajectory": transported,
            "states": transported,
            "speech": self.gate is not None,
            "familiar": bool(self.head.config.in_domain_components),
        }
        return ("scores", *(name for name, is_present in optional.items() if is_present))

    def _transported(self, features: Tensor, exponent: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, their trajectory and the states of a transport head."""
        x_1, X_c = self.head.ends(features)
        sampler = self.head.config.sampler
        if self.transport is None:
            estimates, states = sampler.trace(self.head.estimate, self.head.config.path, x_1, X_c)
        else:
            estimates, states = self.transport(x_1, X_c)
        trajectory = self._probabilities(estimates, exponent).transpose(0, 1)
        scores = trajectory[:, -1] if sampler.readout == "estimate" else self._probabilities(states[-1], exponent)
        return scores, trajectory, states.transpose(0, 1)

    def _probabilities(self, x_0: Tensor, exponent: float | Tensor) -> Tensor:
        return probabilities(projections(x_0, self.head.codes), exponent, self.head.config.floor)


def check_encoder(encoder: SpeechEncoder, fingerprint: str, model: str) -> None:
    """Refuse an encoder that is not the one a head was trained on.

    Raises:
        ModelError: Its weights or settings differ.
    """
    if encoder.fingerprint != fingerprint:
        raise ModelError(
            f"{model} was trained on another encoder than {encoder.name}: fingerprint {fingerprint[:12]} is needed, "
            f"{encoder.fingerprint[:12]} was found. Name the encoder it was trained on."
        )
