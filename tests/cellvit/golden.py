"""The seeded weights of the golden figures; see `fill`."""

import json
import math
import zlib

import numpy as np
import torch

from paths import DATA


def fill(model):
    """Fill all tensors from their names."""
    state = model.state_dict()
    for name, value in state.items():
        if not value.is_floating_point():
            value.zero_()
            continue
        r = torch.randn(value.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        if name.endswith("running_var"):
            r = 1 + 0.1 * r.abs()
        elif value.ndim == 1 and name.endswith("weight"):
            r = 1 + 0.1 * r
        elif value.ndim < 2 or "pos_embed" in name or "token" in name:
            r = 0.02 * r
        else:
            r = r / math.sqrt(max(1, value[0].numel()))
        value.copy_(r)
    model.load_state_dict(state, strict=True)
    return model


def figures():
    """Arrays and numbers of the golden file."""
    folder = DATA / "golden"
    return np.load(folder / "official_cellvit.npz"), json.loads((folder / "official_cellvit.json").read_text())


def keys(arch: str):
    """Official (name, shape) of every entry of the state_dict, in order."""
    lines = (DATA / "keys" / f"{arch}.txt").read_text().splitlines()
    return [tuple(line.split("\t")) for line in lines if line]
