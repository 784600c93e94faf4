"""Low-rank adaptation of an encoder (LoRA, Hu et al., 2022) before its features are computed.

A speech recognition encoder is trained for words. Here low-rank terms in its layers are trained so that a ridge
regression on some corpora is right about another one: every step is an episode that leaves each corpus out in turn
(ridge regression as a differentiable learner: Bertinetto et al., 2019, R2D2). What serves one corpus alone gains
nothing. The error counts twice, with the features as they are and shifted by the difference of the means, as a profile
shifts them. Features of augmented clips are pulled towards the frozen encoder's features of the clips themselves.
Afterwards the terms are merged into the weights, so inference costs the same.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.utils import parametrize

from genser.audio import SAMPLE_RATE
from genser.audio.augment import AugmentedCopy
from genser.caches import import_torch_compiler
from genser.config import to_mapping
from genser.data.utterance import Utterance
from genser.encoders import KINDS, SpeechEncoder
from genser.encoders.batches import batches_of, padded
from genser.encoders.checkpoint import read_weights
from genser.encoders.encode_clips import has_fast_bf16
from genser.encoders.pooling import PooledEncoder
from genser.errors import ConfigError
from genser.files import atomic_write
from genser.training.clips import FULL_SCALE, Clips, Draw
from genser.training.data import Dataset
from genser.training.recipe import TrainConfig

GROUPS = 4
"""Groups of speakers, or of utterances, that take the place of corpora where there is only one."""

WARMUP = 0.1
"""Share of all steps with a rising learning rate."""

SHARPNESS, SHARPNESS_RATE = 8.0, 0.05
"""Initial factor from shares of classes to logits, and its learning rate."""

Progress = Callable[[int, int], None]


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
    clips: Clips | None = None,
) -> SpeechEncoder:
    """Adapt a copy of an encoder to training rows, or load it if the same adaptation was done before.

    Args:
        encoder: Frozen; it is not changed.
        dataset: All rows, with the features of this encoder.
        training: Indices of the training rows.
        config: Recipe; its augmentation and balance apply here too.
        folder: Folder of adapted weights; a file is named by the hash of everything that its weights depend on.
        progress: Called with the number of steps done and to do.
        clips: Waveforms that an earlier adaptation has decoded; new ones are added.

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
            _Adaptation(copy, dataset, training, config).run(clips or Clips(), progress or (lambda *_: None))
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, save({name: tensor.cpu().half() for name, tensor in copy.state_dict().items()}))
    copy.load_state_dict({name: tensor.float() for name, tensor in read_weights(path).items()})
    return copy.eval().requires_grad_(False)


def _thawed(encoder: SpeechEncoder) -> SpeechEncoder:
    """Copy an encoder without the fingerprint that the original may have cached."""
    copy = deepcopy(encoder)
    for module in copy.modules():
        module.__dict__.pop("fingerprint", None)
    return copy


def _identity(encoder: SpeechEncoder, dataset: Dataset, training: np.ndarray, config: TrainConfig) -> str:
    """Hash of everything that the adapted weights depend on."""
    names = ("adaptation", "augmentation", "augmented_copies", "augmented_share", "balance", "seed")
    settings = {name: value for name, value in to_mapping(config).items() if name in names}
    digest = hashlib.sha256(json.dumps([encoder.fingerprint, settings, dataset.classes], sort_keys=True).encode())
    utterances = [dataset.utterances[index] for index in training]
    digest.update(np.ascontiguousarray(dataset.features[training]).tobytes())
    drawn = dataset.weights(training, config.balance)
    for tensor in (torch.from_numpy(dataset.labels[training]), groups_of(utterances), drawn):
        digest.update(b"" if tensor is None else tensor.numpy().tobytes())
    return digest.hexdigest()


def adaptable(encoder: SpeechEncoder) -> list[nn.Linear]:
    """Linear modules in the encoder's layers, up to the one that gives the highest chosen state.

    Raises:
        ConfigError: There are none.
    """
    layers = KINDS[encoder.settings["kind"]].layers
    highest = max(encoder.chosen) if isinstance(encoder, PooledEncoder) else encoder.states - 1
    found = []
    for name, module in encoder.named_modules():
        _, _, inside = f".{name}".partition(f".{layers}.")
        if isinstance(module, nn.Linear) and inside and int(inside.partition(".")[0]) < highest:
            found.append(module)
    if not found:
        raise ConfigError(f"{encoder.name} has no layers to adapt below its chosen states. Leave adaptation.rank at 0.")
    return found


class _Adaptation:
    """One adaptation: an encoder with low-rank terms, and its training rows in groups."""

    def __init__(self, encoder: SpeechEncoder, dataset: Dataset, training: np.ndarray, config: TrainConfig) -> None:
        self.encoder, self.config, self.device = encoder, config, encoder.device
        rows = dataset.training_rows(training, replace(config, augmented_copies=0, centre=False))
        self.utterances = [dataset.utterances[index] for index in training]
        self.frozen = rows.features.to(self.device)
        self.mean, self.scale = self.frozen.mean(0), self.frozen.std(0)
        self.labels, self.classes = rows.labels.to(self.device), len(dataset.classes)
        self.weights = torch.ones(len(rows)) if rows.weights is None else rows.weights
        self.groups = groups_of(self.utterances)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS, device=self.device))

    def run(self, clips: Clips, progress: Progress) -> None:
        """Train the low-rank terms, then merge them into the weights."""
        matrices, settings = adaptable(self.encoder), self.config.adaptation
        terms = [LowRank(matrix.weight, settings.rank) for matrix in matrices]
        for matrix, term in zip(matrices, terms, strict=True):
            parametrize.register_parametrization(matrix, "weight", term)
        factors = [parameter for term in terms for parameter in term.parameters()]
        groups = [{"params": factors}, {"params": [self.sharpness], "lr": SHARPNESS_RATE}]
        import_torch_compiler()
        optimizer = torch.optim.AdamW(groups, settings.lr, betas=(0.9, 0.98), weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        rows, draws = zip(*self._draws(), strict=True)
        for step, waveforms in enumerate(clips.batches(draws)):
            optimizer.zero_grad()
            self._loss(rows[step], waveforms).backward()
            nn.utils.clip_grad_norm_(factors, 1.0)
            optimizer.step()
            schedule.step()
            progress(step + 1, settings.steps)
        for matrix, term in zip(matrices, terms, strict=True):
            term.up.detach().mul_(settings.strength)
            parametrize.remove_parametrizations(matrix, "weight")

    def _rate(self, step: int) -> float:
        """Factor of the learning rate: linear warm-up, then linear decay to 0."""
        steps = self.config.adaptation.steps
        return min(1.0, (step + 1) / (WARMUP * steps)) * max(1 - step / steps, 0.0)

    def _draws(self) -> Iterator[tuple[Tensor, list[Draw]]]:
        """Rows of every step, drawn by weight, and the clip or copy that each stands for."""
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)
        share = config.augmented_share if config.augmented_copies else 0.0
        copies = [AugmentedCopy(config.augmentation, n + 1) for n in range(config.augmented_copies)]
        for _ in range(config.adaptation.steps):
            rows = torch.multinomial(self.weights, config.adaptation.batch, replacement=True, generator=generator)
            chance = torch.rand(len(rows), generator=generator).tolist()
            drawn = [copies[int(one / share * len(copies))] if one < share else None for one in chance]
            yield rows, [(self.utterances[row], copy) for row, copy in zip(rows.tolist(), drawn, strict=True)]

    def _loss(self, rows: Tensor, waveforms: Sequence[np.ndarray]) -> Tensor:
        """Error of the episodes, plus the distance from the frozen encoder's features."""
        settings, groups = self.config.adaptation, self.groups[rows]
        parts, features = self._features(waveforms)
        rows = rows[parts].to(self.device)
        shares = one_hot(self.labels[rows], self.classes).float()
        standard = ((features - self.mean) / self.scale).flatten(1)
        loss = episode_loss(standard, shares, groups[parts], settings.penalty, self.sharpness)
        distance = ((features - self.frozen[rows]) / self.scale).square().mean()
        return loss + settings.fidelity * distance

    def _features(self, waveforms: Sequence[np.ndarray]) -> tuple[list[int], Tensor]:
        """Features of a batch, computed in parts of similar length, and the place of each row in the batch."""
        cut = [waveform[: self.encoder.max_samples] for waveform in waveforms]
        parts = batches_of([len(waveform) for waveform in cut], self.config.adaptation.batch_seconds * SAMPLE_RATE)
        found = []
        for part in parts:
            batch, lengths = map(torch.from_numpy, padded([cut[index] for index in part], np.int16))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bf16(self.device)):
                found.append(self.encoder(batch.to(self.device) / FULL_SCALE, lengths.to(self.device)).float())
        return [index for part in parts for index in part], torch.cat(found)


def groups_of(utterances: Sequence[Utterance]) -> Tensor:
    """Number of the group of every utterance: its corpus, or its speaker, or itself, whichever first are several.

    Speakers and utterances share few numbers, so that a group has enough rows.
    """
    corpora = [item.corpus or "" for item in utterances]
    speakers = [item.speaker or str(item) for item in utterances]
    themselves = [str(item) for item in utterances]
    several = (names for names in (corpora, speakers, themselves) if len(set(names)) > 1)
    names = next(several, themselves)
    numbers = {name: index for index, name in enumerate(sorted(set(names)))}
    return torch.tensor([numbers[name] % (len(numbers) if names is corpora else GROUPS) for name in names])


def episode_loss(features: Tensor, shares: Tensor, groups: Tensor, penalty: float, sharpness: Tensor) -> Tensor:
    """Mean cross-entropy on each group of a ridge regression that is fitted to the others.

    It counts the features as they are and shifted, so that the group has the mean of the others.

    Args:
        features: Standardised, shape (rows, dim).
        shares: Class shares, shape (rows, classes).
        groups: Group of each row, on the CPU; the loss of rows of one group is 0.
        penalty: Of the ridge regression, per row.
        sharpness: Factor from estimated shares to logits.
    """
    losses, present = [features.new_zeros(())], groups.unique()
    for group in present if len(present) > 1 else ():
        inside = (groups == group).to(features.device)
        known, asked, target = features[~inside], features[inside], shares[inside]
        centre, share = known.mean(0), shares[~inside].mean(0)
        known = known - centre
        gram = known @ known.T + penalty * len(known) * torch.eye(len(known), device=known.device)
        weight = known.T @ torch.cholesky_solve(shares[~inside] - share, torch.linalg.cholesky(gram))
        for centred in (asked - centre, asked - asked.mean(0)):
            logits = sharpness * (centred @ weight + share)
            losses.append(cross_entropy(logits, target, reduction="sum"))
    return torch.stack(losses).sum() / (2 * len(features))
