"""Copies the metrics of a training run to a tracker: TensorBoard's files, trackio or Weights & Biases.

Nothing is imported or written before a run is tracked. Only Weights & Biases sends anything: the settings of the recipe
and the metrics, and neither code, output, packages nor facts about the machine.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from genser.config import to_mapping
from genser.errors import ConfigError, suggestion
from genser.training.recipe import TrainConfig

Log = Callable[[dict[str, float], int], object]
"""Takes metrics and the number of their step."""


def _tensorboard(where: str, folder: Path, settings: dict[str, Any], stack: ExitStack) -> Callable[[int], Log]:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        from torch.utils.tensorboard import SummaryWriter  # needs the package tensorboard

    def start(step: int) -> Log:
        path = where or str(folder / "run" / "tensorboard")
        writer = stack.enter_context(SummaryWriter(log_dir=path, purge_step=step))
        writer.add_text("recipe", "\n".join(f"    {key}: {value}" for key, value in settings.items()), step)
        return lambda metrics, step: [writer.add_scalar(name, value, step) for name, value in metrics.items()]

    return start


def _trackio(where: str, folder: Path, settings: dict[str, Any], stack: ExitStack) -> Callable[[int], Log]:
    os.environ.setdefault("TRACKIO_DIR", str((folder / "run" / "trackio").absolute()))  # read when it is imported
    trackio = import_module("trackio")

    def start(_: int) -> Log:
        trackio.init(project=where or "genser", name=folder.name, config=settings, resume="allow")
        stack.callback(trackio.finish)
        return trackio.log

    return start


def _wandb(where: str, folder: Path, settings: dict[str, Any], stack: ExitStack) -> Callable[[int], Log]:
    wandb = import_module("wandb")

    sent = {"console": "off", "disable_code": True, "disable_git": True, "x_save_requirements": False}
    sent |= {"x_disable_meta": True, "x_disable_stats": True, "x_disable_machine_info": True}

    def start(_: int) -> Log:
        place = str(folder / "run")
        run = wandb.init(project=where or "genser", name=folder.name, config=settings, dir=place, settings=sent)
        stack.callback(run.finish)
        return run.log

    return start


TRACKERS = {"tensorboard": (_tensorboard, "tensorboardX"), "trackio": (_trackio, "trackio"), "wandb": (_wandb, "wandb")}
"""Tracker → function that imports it and returns one that starts a run, and the package to install."""


@contextmanager
def tracker(choice: str | None, folder: Path, config: TrainConfig) -> Iterator[Callable[[int, Mapping], None]]:
    """Track a run.

    Args:
        choice: ``NAME`` or ``NAME:WHERE``, WHERE being a folder for TensorBoard and a project for the others; None for
            no tracker.
        folder: Output folder of the run, which gives the run its name.
        config: Its recipe.

    Yields:
        A function of a step and its metrics. It passes on what the run evaluates, every ``evaluate_every`` steps.

    Raises:
        ConfigError: There is no such tracker, or its package is not installed.
    """
    name, _, where = (choice or "").partition(":")
    if not name:
        yield lambda *_: None
        return
    if name not in TRACKERS:
        raise ConfigError(f"There is no tracker {name!r}. {suggestion(name, TRACKERS)}")
    make, package = TRACKERS[name]
    log: list[Log] = []
    with ExitStack() as stack:
        try:
            start = make(where, folder, _settings(config), stack)
        except ImportError as error:
            raise ConfigError(f"--track {name} needs the package {package}: pip install {package}") from error

        def track(step: int, metrics: Mapping) -> None:
            if all(isinstance(value, int | float) for value in metrics.values()):  # others are still on the device
                log[:] = log or [start(step)]
                log[0]({key: value for key, value in metrics.items() if key != "step"}, step)

        yield track


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The recipe by dotted key, without the folders of its files."""

    def flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in mapping.items():
            if isinstance(value, Mapping):
                yield from flat(value, f"{prefix}{key}.")
            else:
                is_path = isinstance(value, str) and Path(value).is_absolute()
                yield prefix + key, Path(value).name if is_path else value

    return dict(flat(to_mapping(config)))
