"""Encoders trained elsewhere: HIPT's ViT-S (DINO), Segment Anything's, and those of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stnuclei.cellvit.model import CellViT
from stnuclei.cellvit.tensors import load_strictly, mismatches, read_tensors
from stnuclei.cellvit.weight_names import read_safetensors, timm_names
from stnuclei.errors import UserError

# Where files keep their tensors: DINO's teacher (not the student), checkpoints of this program and of CellViT, others.
ENTRIES = ("teacher", "model_state_dict", "state_dict", "model")
PREFIXES = ("module.", "backbone.", "image_encoder.", "encoder.")


def load_encoder(model: CellViT, path: str | Path) -> dict[str, Any]:
    """Load weights into the encoder, all of them or none.

    Known are HIPT's ``vit256_small_dino.pth`` (entry ``teacher``, prefixes ``module.`` and ``backbone.``), Meta's SAM
    files (the part under ``image_encoder.``), flat SAM encoders as CellViT's authors give them, checkpoints of CellViT
    itself (the part under ``encoder.``), and files of the hub under the names of timm, DINOv2 or transformers
    (``.bin``, ``.pth``, ``.safetensors``).

    Parameters
    ----------
    model
        Its encoder is filled in place; the tissue head stays as it is.
    path
        The file.

    Returns
    -------
    ``loaded``: number of tensors; ``left_out``: names in the file that are no part of the encoder.

    Raises
    ------
    UserError
        If the file does not give every tensor of the encoder in its shape: what is missing, unexpected or of another
        shape is named, and nothing has been loaded.
    """
    return load_encoder_tensors(model.encoder, model.settings.architecture.name, path)


def load_encoder_tensors(encoder: nn.Module, name: str, path: str | Path) -> dict[str, Any]:
    """Load weights into an encoder; `name` is that of its architecture in messages. See `load_encoder`."""
    safe = Path(path).suffix == ".safetensors" and Path(path).is_file()
    content = read_safetensors(path) if safe else read_tensors(path, "encoder weights")
    tensors, left_out = _encoder_part(_tensors_of(content, path))
    wanted = {name: value for name, value in encoder.state_dict().items() if not name.startswith("head.")}
    # A head, or the token that stands for hidden patches, is what the encoder was trained with, never part of it.
    heads = {name for name in tensors if name.startswith(("head.", "projection_head.")) or name.endswith("mask_token")}
    left_out += sorted(heads)
    given = {name: value for name, value in tensors.items() if name not in heads}
    problems = mismatches(wanted, given)
    if problems:
        raise UserError(f"encoder weights {path}: do not fit the encoder of {name}: {'; '.join(problems)}")
    own_head = {name: value for name, value in encoder.state_dict().items() if name.startswith("head.")}
    load_strictly(encoder, {**given, **own_head}, f"encoder weights {path}")
    return {"loaded": len(given), "left_out": left_out}


def _tensors_of(content: Any, path: str | Path) -> Mapping[str, Tensor]:
    for entry in ENTRIES:
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"encoder weights {path}: hold no tensors by name; give a HIPT or a SAM file")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _encoder_part(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by the encoder's own names, and the names of what else the file holds."""
    left_out: list[str] = []
    if any(name.startswith("embeddings.") for name in tensors):  # transformers, where `encoder.` are the blocks alone
        return timm_names(tensors), left_out
    for prefix in PREFIXES:
        encoder = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        if encoder:
            left_out += [name for name in tensors if not name.startswith(prefix)]
            tensors = encoder
    return timm_names(tensors), left_out
