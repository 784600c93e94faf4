"""Low-rank adaptation of an encoder (LoRA, Hu et al., 2022) before its states are averaged and kept.

A frozen encoder was made to write down words. A few low-rank terms in its layers teach it what tells emotions apart,
and what noise, telephones and cut ends do not change: altered clips are pulled towards the features that the frozen
encoder has of the clean ones. Afterwards the terms are part of the weights, so that nothing costs more than before.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.augment import AugmentedCopy
from genser.config import to_mapping
from genser.data.features import decoding_threads
from genser.data.utterance import Utterance
from genser.encoders import KINDS, SpeechEncoder
from genser.encoders.batches import batches_of, padded
from genser.errors import ConfigError
from genser.files import atomic_write
from genser.training.data import Dataset
from genser.training.recipe import TrainConfig

POOL = 256
"""Clips drawn together, so that clips of like length share a batch."""

VIEWS = 1 << 20
"""Number of the first altered copy, far from those that a head learns from."""

HEAD_RATE, HEAD_DECAY, WARMUP = 1e-3, 0.05, 0.1
Progress = Callable[[int, int], None]
Clip = tuple[int, np.ndarray]
"""A row and its waveform."""


class LowRank(nn.Module):
    """A weight matrix plus a product of two thin ones, of which the second starts at 0."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted matrix."""
        return weight + self.up @ self.down


def adapted_encoder(
    encoder: SpeechEncoder,
    dataset: Dataset,
    places: np.ndarray,
    config: TrainConfig,
    folder: Path,
    progress: Progress | None = None,
) -> SpeechEncoder:
    """A copy of an encoder that was adapted to the given rows, taken from the folder where it was made before.

    Args:
        encoder: Frozen; it stays as it is.
        dataset: With the features that it gives.
        places: Rows of the training speakers.
        config: Recipe; its alterations, balance and centring hold here as well.
        folder: Where adapted weights are kept, under a name that follows from all that they depend on.
        progress: Told the steps done and to do.

    Raises:
        ConfigError: The recipe has no rank, or the encoder no layers.
    """
    if not config.adaptation.rank:
        raise ConfigError("adaptation.rank is 0: nothing is adapted. Give a rank such as 16.")
    copy = _thawed(encoder)
    path = folder / f"adapted-{_identity(encoder, dataset, places, config)[:24]}.safetensors"
    if not path.exists():
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(config.seed)
            _Adaptation(copy, dataset, places, config).run(progress or (lambda *_: None))
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, save({name: tensor.cpu().half() for name, tensor in copy.state_dict().items()}))
    copy.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return copy.eval().requires_grad_(False)


def _thawed(encoder: SpeechEncoder) -> SpeechEncoder:
    """A copy without the fingerprint that the original may have worked out."""
    copy = deepcopy(encoder)
    for module in copy.modules():
        module.__dict__.pop("fingerprint", None)
    return copy


def _identity(encoder: SpeechEncoder, dataset: Dataset, places: np.ndarray, config: TrainConfig) -> str:
    """Hash of everything that the adapted weights follow from."""
    names = ("adaptation", "augmentation", "balance", "centre", "augmented_share", "seed")
    settings = {name: value for name, value in to_mapping(config).items() if name in names}
    digest = hashlib.sha256(json.dumps([encoder.fingerprint, settings, dataset.classes], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(dataset.features[places]).tobytes())
    digest.update(dataset.labels[places].tobytes())
    return digest.hexdigest()


def _matrices(encoder: SpeechEncoder) -> list[nn.Linear]:
    """Linear maps of the encoder's layers."""
    found = [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and KINDS[encoder.settings["kind"]].layers in name.split(".")
    ]
    if not found:
        raise ConfigError(f"{encoder.name} has no layers to adapt. Leave adaptation.rank at 0.")
    return found


class _Adaptation:
    """One run: an encoder with low-rank terms, a linear head beside it, and what both learn from."""

    def __init__(self, encoder: SpeechEncoder, dataset: Dataset, places: np.ndarray, config: TrainConfig) -> None:
        self.encoder, self.config = encoder, config
        rows = dataset.training_rows(places, config.without_augmentation())
        self.device = encoder.device
        self.utterances = [dataset.utterances[place] for place in places]
        self.wanted = torch.from_numpy(dataset.features[places]).to(self.device)
        self.shifts = rows.features.to(self.device) - self.wanted
        self.mean, self.scale = rows.features.mean(0).to(self.device), rows.features.std(0).to(self.device)
        self.labels = rows.labels.to(self.device)
        self.weights = torch.ones(len(rows)) if rows.weights is None else rows.weights
        self.head = nn.Linear(self.mean.numel(), len(dataset.classes), device=self.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def run(self, progress: Progress) -> None:
        """Learn, and make the low-rank terms part of the weights."""
        matrices, settings = _matrices(self.encoder), self.config.adaptation
        for matrix in matrices:
            parametrize.register_parametrization(matrix, "weight", LowRank(matrix.weight, settings.rank))
        thin = [parameter for matrix in matrices for parameter in matrix.parametrizations.weight[0].parameters()]
        groups = [
            {"params": thin, "lr": settings.lr, "weight_decay": 0.0},
            {"params": self.head.parameters(), "lr": HEAD_RATE, "weight_decay": HEAD_DECAY},
        ]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        for step, batch in enumerate(self._batches()):
            optimizer.zero_grad()
            self._loss(batch).backward()
            nn.utils.clip_grad_norm_(thin, 1.0)
            optimizer.step()
            schedule.step()
            progress(step + 1, settings.steps)
        for matrix in matrices:
            parametrize.remove_parametrizations(matrix, "weight")

    def _rate(self, step: int) -> float:
        """Linear warm-up, linear decay to 0."""
        steps = self.config.adaptation.steps
        return min(1.0, (step + 1) / (WARMUP * steps)) * max(1 - step / steps, 0.0)

    def _loss(self, batch: list[Clip]) -> Tensor:
        """Cross-entropy of the head on noisy features, and how far they are from those of the frozen encoder."""
        settings, rows = self.config.adaptation, torch.tensor([row for row, _ in batch], device=self.device)
        waveforms, lengths = map(torch.from_numpy, padded([waveform for _, waveform in batch]))
        with torch.autocast(self.device.type, torch.bfloat16):
            features = self.encoder(waveforms.to(self.device), lengths.to(self.device))
        features = features.float()
        given = ((features + self.shifts[rows] - self.mean) / self.scale).flatten(1)
        scores = self.head(given + settings.noise * torch.randn_like(given))
        away = ((features - self.wanted[rows]) / self.scale).square().mean()
        return cross_entropy(scores, self.labels[rows]) + settings.fidelity * away

    def _batches(self) -> Iterator[list[Clip]]:
        """As many batches as there are steps, decoded one pool of clips ahead."""
        left = self.config.adaptation.steps
        generator = torch.Generator().manual_seed(self.config.seed)
        with decoding_threads() as threads:
            pools = (self._pool(number, generator) for number in range(left))
            coming = [threads.submit(self._sound, *drawn) for drawn in next(pools)]
            while left:
                pool, coming = coming, [threads.submit(self._sound, *drawn) for drawn in next(pools, [])]
                for batch in self._batched([clip.result() for clip in pool], generator)[:left]:
                    yield batch
                    left -= 1
            for clip in coming:
                clip.cancel()

    def _pool(self, number: int, generator: torch.Generator) -> list[tuple[int, int, bool]]:
        """Rows drawn by weight, the number of their copy, and whether they are altered."""
        rows = torch.multinomial(self.weights, POOL, replacement=True, generator=generator)
        altered = torch.rand(POOL, generator=generator) < self.config.augmented_share
        return [(int(row), number * POOL + place, bool(altered[place])) for place, row in enumerate(rows)]

    def _sound(self, row: int, number: int, is_altered: bool) -> Clip:
        item: Utterance = self.utterances[row]
        waveform = load_audio(item.path, start=item.start, end=item.end)[: self.encoder.max_samples]
        if is_altered:
            view = AugmentedCopy(self.config.augmentation, VIEWS + number, self.config.seed)
            waveform = view(waveform, str(row))[: self.encoder.max_samples]
        return row, waveform

    def _batched(self, clips: list[Clip], generator: torch.Generator) -> list[list[Clip]]:
        """Clips of like length together, in random order."""
        lengths = [len(waveform) for _, waveform in clips]
        groups = batches_of(lengths, self.config.adaptation.batch_seconds * SAMPLE_RATE)
        return [[clips[index] for index in groups[place]] for place in torch.randperm(len(groups), generator=generator)]
