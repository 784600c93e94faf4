"""Low-rank adaptation of an encoder (LoRA, Hu et al., 2022) before its features are computed and stored.

A speech recognition encoder is trained for words. Here low-rank terms in its layers are trained to separate emotions
and to ignore noise, telephone bands and cropping: features of augmented clips are pulled towards the frozen encoder's
features of the clips themselves. Afterwards the terms are merged into the weights, so inference costs the same.
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
from genser.caches import import_torch_compiler
from genser.config import to_mapping
from genser.data.features import decoding_threads
from genser.encoders import KINDS, SpeechEncoder
from genser.encoders.batches import batches_of, padded
from genser.errors import ConfigError
from genser.files import atomic_write
from genser.training.data import Dataset
from genser.training.recipe import TrainConfig

POOL = 256
"""Clips drawn together, so that clips of similar length share a batch."""

FIRST_COPY = 1 << 20
"""Number of the first augmented copy; a head is trained on copies with small numbers."""

HEAD_RATE, HEAD_DECAY, WARMUP = 1e-3, 0.05, 0.1
"""Learning rate and weight decay of the linear head, and the share of all steps with a rising rate."""

Progress = Callable[[int, int], None]
Clip = tuple[int, np.ndarray]
"""A row and its waveform."""


class LowRank(nn.Module):
    """A weight matrix plus the product of two low-rank factors, of which the second is initialised to 0."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """Add the low-rank term."""
        return weight + self.up @ self.down


def adapted_encoder(
    encoder: SpeechEncoder,
    dataset: Dataset,
    training: np.ndarray,
    config: TrainConfig,
    folder: Path,
    progress: Progress | None = None,
) -> SpeechEncoder:
    """Adapt a copy of an encoder to training rows, or load it if the same adaptation was done before.

    Args:
        encoder: Frozen; it is not changed.
        dataset: All rows, with the features of this encoder.
        training: Indices of the training rows.
        config: Recipe; its augmentation, balance and centring apply here too.
        folder: Folder of adapted weights; a file is named by the hash of everything that its weights depend on.
        progress: Called with the number of steps done and to do.

    Raises:
        ConfigError: The recipe's rank is 0, or the encoder has no layers.
    """
    if not config.adaptation.rank:
        raise ConfigError("adaptation.rank is 0, so nothing is adapted. Give a rank such as 16.")
    copy = _thawed(encoder)
    path = folder / f"adapted-{_identity(encoder, dataset, training, config)[:24]}.safetensors"
    if not path.exists():
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(config.seed)
            _Adaptation(copy, dataset, training, config).run(progress or (lambda *_: None))
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, save({name: tensor.cpu().half() for name, tensor in copy.state_dict().items()}))
    copy.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return copy.eval().requires_grad_(False)


def _thawed(encoder: SpeechEncoder) -> SpeechEncoder:
    """Copy an encoder without the fingerprint that the original may have cached."""
    copy = deepcopy(encoder)
    for module in copy.modules():
        module.__dict__.pop("fingerprint", None)
    return copy


def _identity(encoder: SpeechEncoder, dataset: Dataset, training: np.ndarray, config: TrainConfig) -> str:
    """Hash of everything that the adapted weights depend on."""
    names = ("adaptation", "augmentation", "balance", "centre", "augmented_share", "seed")
    settings = {name: value for name, value in to_mapping(config).items() if name in names}
    digest = hashlib.sha256(json.dumps([encoder.fingerprint, settings, dataset.classes], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(dataset.features[training]).tobytes())
    digest.update(dataset.labels[training].tobytes())
    return digest.hexdigest()


def _matrices(encoder: SpeechEncoder) -> list[nn.Linear]:
    """Linear modules in the encoder's layers."""
    found = [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and KINDS[encoder.settings["kind"]].layers in name.split(".")
    ]
    if not found:
        raise ConfigError(f"{encoder.name} has no layers to adapt. Leave adaptation.rank at 0.")
    return found


class _Adaptation:
    """One adaptation: an encoder with low-rank terms, a linear head on its features, and their training rows."""

    def __init__(self, encoder: SpeechEncoder, dataset: Dataset, training: np.ndarray, config: TrainConfig) -> None:
        self.encoder, self.config = encoder, config
        rows = dataset.training_rows(training, config.without_augmentation())
        self.device = encoder.device
        self.utterances = [dataset.utterances[index] for index in training]
        self.frozen = torch.from_numpy(dataset.features[training]).to(self.device)
        self.shifts = rows.features.to(self.device) - self.frozen
        self.mean, self.scale = rows.features.mean(0).to(self.device), rows.features.std(0).to(self.device)
        self.labels = rows.labels.to(self.device)
        self.weights = torch.ones(len(rows)) if rows.weights is None else rows.weights
        self.head = nn.Linear(self.mean.numel(), len(dataset.classes), device=self.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def run(self, progress: Progress) -> None:
        """Train the low-rank terms and the head, then merge the terms into the weights."""
        matrices, settings = _matrices(self.encoder), self.config.adaptation
        terms = [LowRank(matrix.weight, settings.rank) for matrix in matrices]
        for matrix, term in zip(matrices, terms, strict=True):
            parametrize.register_parametrization(matrix, "weight", term)
        factors = [parameter for term in terms for parameter in term.parameters()]
        groups = [
            {"params": factors, "lr": settings.lr, "weight_decay": 0.0},
            {"params": self.head.parameters(), "lr": HEAD_RATE, "weight_decay": HEAD_DECAY},
        ]
        import_torch_compiler()
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        for step, batch in enumerate(self._batches()):
            optimizer.zero_grad()
            self._loss(batch).backward()
            nn.utils.clip_grad_norm_(factors, 1.0)
            optimizer.step()
            schedule.step()
            progress(step + 1, settings.steps)
        for matrix in matrices:
            parametrize.remove_parametrizations(matrix, "weight")

    def _rate(self, step: int) -> float:
        """Factor of the learning rate: linear warm-up, then linear decay to 0."""
        steps = self.config.adaptation.steps
        return min(1.0, (step + 1) / (WARMUP * steps)) * max(1 - step / steps, 0.0)

    def _loss(self, batch: list[Clip]) -> Tensor:
        """Cross-entropy of the head on noisy features, plus their distance from the frozen encoder's features."""
        settings, rows = self.config.adaptation, torch.tensor([row for row, _ in batch], device=self.device)
        waveforms, lengths = map(torch.from_numpy, padded([waveform for _, waveform in batch]))
        with torch.autocast(self.device.type, torch.bfloat16):
            features = self.encoder(waveforms.to(self.device), lengths.to(self.device))
        features = features.float()
        given = ((features + self.shifts[rows] - self.mean) / self.scale).flatten(1)
        scores = self.head(given + settings.noise * torch.randn_like(given))
        distance = ((features - self.frozen[rows]) / self.scale).square().mean()
        return cross_entropy(scores, self.labels[rows]) + settings.fidelity * distance

    def _batches(self) -> Iterator[list[Clip]]:
        """One batch for each step; the next pool of clips is decoded in advance."""
        left = self.config.adaptation.steps
        generator = torch.Generator().manual_seed(self.config.seed)
        with decoding_threads() as threads:
            pools = (self._pool(number, generator) for number in range(left))
            coming = [threads.submit(self._load, drawn) for drawn in next(pools)]
            while left:
                pool, coming = coming, [threads.submit(self._load, drawn) for drawn in next(pools, [])]
                for batch in self._batched([clip.result() for clip in pool], generator)[:left]:
                    yield batch
                    left -= 1
            for clip in coming:
                clip.cancel()

    def _pool(self, number: int, generator: torch.Generator) -> list[tuple[int, int, bool]]:
        """Draw rows by weight, each with the number of its copy and whether it is augmented."""
        rows = torch.multinomial(self.weights, POOL, replacement=True, generator=generator)
        is_copy = torch.rand(POOL, generator=generator) < self.config.augmented_share
        return [(int(row), number * POOL + index, bool(is_copy[index])) for index, row in enumerate(rows)]

    def _load(self, drawn: tuple[int, int, bool]) -> Clip:
        row, number, is_copy = drawn
        item = self.utterances[row]
        waveform = load_audio(item.path, start=item.start, end=item.end)[: self.encoder.max_samples]
        if is_copy:
            copy = AugmentedCopy(self.config.augmentation, FIRST_COPY + number, self.config.seed)
            waveform = copy(waveform, str(row))[: self.encoder.max_samples]
        return row, waveform

    def _batched(self, clips: list[Clip], generator: torch.Generator) -> list[list[Clip]]:
        """Batches of clips of similar length, in random order."""
        lengths = [len(waveform) for _, waveform in clips]
        groups = batches_of(lengths, self.config.adaptation.batch_seconds * SAMPLE_RATE)
        order = torch.randperm(len(groups), generator=generator)
        return [[clips[index] for index in groups[number]] for number in order]
