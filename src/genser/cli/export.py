"""``genser export``: writes a model folder as one ONNX file."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from genser.cli._notes import note


def export(
    model: str,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("model.onnx"),
    precision: str = "float32",
    tolerance: float | None = None,
    encoder: str | None = None,
    card: Path | None = None,
) -> int:
    """Write a model as one ONNX file that needs no torch, from waveform to scores, and check it against torch.

    Example: genser export model -o model.onnx

    Args:
        model: Model folder, or hf:owner/name for one on the Hugging Face hub.
        output: ONNX file; it appears once it is complete and checked.
        precision: float32, or int8 to quantise the matrix products of the encoder: smaller and faster.
        tolerance: Largest allowed difference of a score from torch's; 1e-4 in float32 and 0.1 in int8 if omitted.
        encoder: Present source of the encoder, if it was moved: "kind:path", a path, or a hub id.
        card: Markdown file to store as the model card; that of the model folder if omitted.

    Returns:
        0.
    """
    from genser.cli._extras import training_extra
    from genser.cli._outputs import check_file
    from genser.errors import ConfigError, cause

    check_file(output)
    try:
        text = card.read_text(encoding="utf-8") if card else None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The model card {card} cannot be read: {cause(error)}. Name a Markdown file in UTF-8."
        ) from error
    with training_extra("Exporting"):
        from genser.export.onnx import export_onnx
    note(f"genser: Exporting {model}.")
    exported = export_onnx(
        model,
        output,
        precision,
        tolerance=tolerance,
        encoder=encoder,
        card=text,
    )
    parity = exported.parity
    note(
        f"{exported.path}: {exported.size / 1e6:.1f} MB, {precision}; over {parity.clips} clips scores differ from "
        f"torch's by {parity.difference:.1e} at most, {100 * parity.agreement:.0f} % of the labels agree"
    )
    return 0
