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
    """A trained encoder and head with an optional speech gate and an optional second head for the gender.

    Args:
        encoder: Waveform to pooled hidden states.
        head: Hidden states to class probabilities.
        gate: Hidden states to the probability of speech.
        gender: Hidden states to the probabilities of the genders.
    """

    def __init__(
        self, encoder: SpeechEncoder, head: Head, gate: SpeechGate | None = None, gender: Head | None = None
    ) -> None:
        super().__init__()
        self.encoder: SpeechEncoder = encoder
        self.head: Head = head
        self.gate = gate
        self.gender = gender
        if isinstance(head, TransportHead) and head.config.state == "posterior":
            variance = float(head.variance.detach())
            estimates, states = head.config.sampler.posterior_coefficients(head.config.path, variance)
            self.register_buffer("estimate_coefficients", estimates.float(), persistent=False)
            self.register_buffer("state_coefficients", states.float(), persistent=False)

    def forward(
        self,
        waveform: Float[Tensor, "batch samples"],
        lengths: Int[Tensor, " batch"],
        shift: Float[Tensor, "1 states dim"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Recognise a padded batch of mono 16 kHz sound.

        Args:
            waveform: Padded behind the end of each clip.
            lengths: Samples of each clip.
            shift: Added to the features before the head, see :class:`genser.inference.profile.Profile`; None is 0.

        Returns:
            Class probabilities (batch, classes); with a transport head, those read off at each time of the transport
            (batch, N + 1, classes) and the states x_t (batch, N + 1, dim); with a gate, the probability of speech
            (batch,); with an in-domain score, that score (batch,); with a head for the gender, its probabilities
            (batch, genders); and the features without shift (batch, states, dim). :attr:`outputs` gives their names.
        """
        pooled = self.encoder(waveform, lengths)
        features = pooled if shift is None else pooled + shift
        head = self.head
        in_domain = head.in_domain_score(pooled)  # a shift makes a recording easier to recognise, not familiar
        exponent = head.exponent(in_domain)
        if isinstance(head, TransportHead):
            estimates, states = self._transport(head, *head.ends(features))
            trajectory = probabilities(projections(estimates, head.codes), exponent).transpose(0, 1)
            is_estimate = head.config.sampler.readout == "estimate"
            scores = trajectory[:, -1] if is_estimate else probabilities(projections(states[-1], head.codes), exponent)
            outputs = (scores, trajectory, states.transpose(0, 1))
        else:
            outputs = (probabilities(head.coordinates(features), exponent),)
        speech = () if self.gate is None else (self.gate(pooled),)
        familiar = () if in_domain is None else (in_domain,)
        gender = () if self.gender is None else (self.gender(pooled),)  # a shift would remove part of the gender
        return (*outputs, *speech, *familiar, *gender, pooled)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns."""
        transport = ("trajectory", "states") if isinstance(self.head, TransportHead) else ()
        speech = () if self.gate is None else ("speech",)
        familiar = ("familiar",) if self.head.config.in_domain_components else ()
        gender = () if self.gender is None else ("gender",)
        return ("scores", *transport, *speech, *familiar, *gender, "features")

    def _transport(self, head: TransportHead, x_1: Tensor, X_c: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates and states (N + 1, batch, dim) of Algorithm 2, see :meth:`Sampler.posterior_coefficients`."""
        config = head.config
        if config.state != "posterior":
            return config.sampler.trace(head.estimate, config.path, x_1, X_c)
        ends = torch.stack([head.prior(X_c, x_1.new_full((1,), config.path.T)), x_1])
        return (
            torch.einsum("te,ebd->tbd", self.estimate_coefficients, ends),
            torch.einsum("te,ebd->tbd", self.state_coefficients, ends),
        )


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
