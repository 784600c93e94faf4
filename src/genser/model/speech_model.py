"""From waveform to class probabilities as one module; this module is what an exported ONNX graph computes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genser.encoders import SpeechEncoder
from genser.errors import ModelError
from genser.model.head import Head
from genser.model.speech_gate import SpeechGate
from genser.model.transport_head import TransportHead
from genser.transport.codes import probabilities, projections


class SpeechModel(nn.Module):
    """A trained encoder and head with an optional speech gate.

    Args:
        encoder: Waveform to pooled hidden states.
        head: Hidden states to class probabilities.
        gate: Hidden states to the probability of speech.
    """

    def __init__(self, encoder: SpeechEncoder, head: Head, gate: SpeechGate | None = None) -> None:
        super().__init__()
        self.encoder, self.head, self.gate = encoder, head, gate
        self.has_transport = isinstance(head, TransportHead)
        self.is_linear = self.has_transport and head.config.state == "posterior"
        if self.is_linear:
            variance = float(head.variance)
            estimates, states = head.config.sampler.posterior_coefficients(head.config.path, variance)
            self.register_buffer("estimate_coefficients", estimates.float(), persistent=False)
            self.register_buffer("state_coefficients", states.float(), persistent=False)

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
        if self.has_transport:
            estimates, states = self._transport(*self.head.ends(features))
            trajectory = self._probabilities(estimates, exponent).transpose(0, 1)
            is_estimate = self.head.config.sampler.readout == "estimate"
            scores = trajectory[:, -1] if is_estimate else self._probabilities(states[-1], exponent)
            outputs = (scores, trajectory, states.transpose(0, 1))
        else:
            outputs = (probabilities(self.head.coordinates(features), exponent),)
        speech = () if self.gate is None else (self.gate(features),)
        return (*outputs, *speech, *(() if in_domain is None else (in_domain,)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns."""
        transport = ("trajectory", "states") if self.has_transport else ()
        speech = () if self.gate is None else ("speech",)
        return ("scores", *transport, *speech, *(("familiar",) if self.head.config.in_domain_components else ()))

    def _transport(self, x_1: Tensor, X_c: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates and states (N + 1, batch, dim) of Algorithm 2, see :meth:`Sampler.posterior_coefficients`."""
        config = self.head.config
        if not self.is_linear:
            return config.sampler.trace(self.head.estimate, config.path, x_1, X_c)
        ends = torch.stack([self.head.prior(X_c, x_1.new_full((1,), config.path.T)), x_1])
        estimates, states = (
            torch.einsum("te,ebd->tbd", coefficients, ends)
            for coefficients in (self.estimate_coefficients, self.state_coefficients)
        )
        return estimates, states

    def _probabilities(self, x_0: Tensor, exponent: float | Tensor) -> Tensor:
        return probabilities(projections(x_0, self.head.codes), exponent)


def check_encoder(encoder: SpeechEncoder, fingerprint: str, model: str) -> None:
    """Refuse an encoder that is not the one a head was trained on.

    Raises:
        ModelError: Its weights or settings differ.
    """
    if encoder.fingerprint != fingerprint:
        raise ModelError(
            f"{model} was trained on another encoder than {encoder.name}: its fingerprint is {fingerprint[:12]}, "
            f"that of this encoder {encoder.fingerprint[:12]}. Name the encoder that it was trained on."
        )
