"""Tensors of encoder files of other libraries under timm's names, and the safetensors format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stnuclei.errors import UserError

# What transformers' Dinov2 and Dinov2WithRegisters call the parts of a vision transformer.
_TRANSFORMERS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.attention\.", r"blocks.\1.attn."),
    (r"^encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"^layernorm\.", "norm."),
)
# DINOv2's own names and transformers' of the gated MLP.
_DINO = (
    (r"^register_tokens$", "reg_token"),
    (r"\.mlp\.(w12|weights_in)\.", ".mlp.fc1."),
    (r"\.mlp\.(w3|weights_out)\.", ".mlp.fc2."),
)
_QKV = ("query", "key", "value")
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
_LONGEST_HEADER = 100_000_000  # bytes, the format's own limit


def timm_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under timm's names; those already under them stay.

    Parameters
    ----------
    tensors
        By the names of timm, of DINOv2 or of transformers, where query, key and value are three tensors each.
    """
    rules = (*_TRANSFORMERS, *_DINO) if any(name.startswith("embeddings.") for name in tensors) else _DINO
    named = {}
    for name, value in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        named[name] = value
    return _joined(named)


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of each block as one tensor."""
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        match = re.fullmatch(r"(blocks\.\d+\.attn\.)(query|key|value)(\.\w+)", name)
        if match is None:
            out[name] = value
        elif match[2] == "query":
            three = [tensors.get(f"{match[1]}{part}{match[3]}") for part in _QKV]
            if all(tensor is not None for tensor in three):
                out[f"{match[1]}qkv{match[3]}"] = torch.cat([tensor for tensor in three if tensor is not None])
    return out


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Read a file of safetensors: a length, a JSON header, plain numbers; no code can be in it.

    The format (8 bytes of length, a header of dtype, shape and offsets) is public; reading it takes no library.

    Raises
    ------
    UserError
        If it is damaged or holds numbers of another kind.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length < _LONGEST_HEADER:
                raise ValueError("its header has no length")
            header = json.loads(file.read(length))
        numbers = np.memmap(path, np.uint8, "c", offset=8 + length) if path.stat().st_size > 8 + length else b""
        return {name: _tensor(numbers, entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError) as error:
        reason = f"cannot be read as safetensors ({error}); fetch the file again"
        raise UserError(f"encoder weights {path}: {reason}") from None


def _tensor(numbers: Any, entry: Mapping[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    block = numbers[begin:end]
    if entry["dtype"] == "BF16":
        flat = torch.from_numpy(np.frombuffer(block, np.int16).copy()).view(torch.bfloat16)
    else:
        flat = torch.from_numpy(np.frombuffer(block, _DTYPES[entry["dtype"]]).copy())
    return flat.reshape(entry["shape"])
