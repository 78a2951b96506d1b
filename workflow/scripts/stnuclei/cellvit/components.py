"""Connected components of masks and label maps: one compiled pass on the CPU, a few tensor passes on a device."""

from __future__ import annotations

import numba
import numpy as np
import torch


@numba.njit(cache=True, nogil=True)
def _root(parent: np.ndarray, index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


@numba.njit(cache=True, nogil=True)
def _join(parent: np.ndarray, first: int, second: int) -> int:
    """Join two provisional labels; 0 stands for none yet. The smaller root stays."""
    if first == 0 or first == second:
        return second
    first, second = _root(parent, first), _root(parent, second)
    smaller, larger = min(first, second), max(first, second)
    parent[larger] = smaller
    return smaller


@numba.njit(cache=True, nogil=True)
def label_equal_regions(values: np.ndarray, diagonal: bool = False) -> tuple[np.ndarray, int]:
    """Number the connected regions of equal, non-zero value.

    Parameters
    ----------
    values
        (H, W) integers or bytes; 0 is background.
    diagonal
        Whether pixels that touch at a corner are connected (8 instead of 4 neighbours).

    Returns
    -------
    (H, W) int32 with the regions numbered 1..n in raster order of their first pixel, and n.
    """
    height, width = values.shape
    labels = np.zeros((height, width), np.int32)
    parent = np.zeros(height * width + 1, np.int32)
    used = 0
    for y in range(height):
        for x in range(width):
            value = values[y, x]
            if value == 0:
                continue
            label = 0
            if x > 0 and values[y, x - 1] == value:
                label = labels[y, x - 1]
            if y > 0:
                if values[y - 1, x] == value:
                    label = _join(parent, label, labels[y - 1, x])
                if diagonal and x > 0 and values[y - 1, x - 1] == value:
                    label = _join(parent, label, labels[y - 1, x - 1])
                if diagonal and x + 1 < width and values[y - 1, x + 1] == value:
                    label = _join(parent, label, labels[y - 1, x + 1])
            if label == 0:
                used += 1
                parent[used] = used
                label = used
            labels[y, x] = label
    return labels, _renumber(labels, parent, used)


@numba.njit(cache=True, nogil=True)
def _renumber(labels: np.ndarray, parent: np.ndarray, used: int) -> int:
    """Replace provisional labels by 1..n in place. Roots have the smallest number, so they come first."""
    count = 0
    final = np.zeros(used + 1, np.int32)
    for label in range(1, used + 1):
        root = _root(parent, label)
        if root == label:
            count += 1
            final[label] = count
        else:
            final[label] = final[root]
    flat = labels.ravel()
    for i in range(flat.size):
        flat[i] = final[flat[i]]
    return count


@numba.njit(cache=True, nogil=True)
def drop_small(labels: np.ndarray, count: int, size: int) -> None:
    """Set the regions of fewer than `size` pixels to 0 in place; `labels` (H, W) int32 holds ids up to `count`."""
    flat = labels.ravel()
    area = np.zeros(count + 1, np.int64)
    for i in range(flat.size):
        area[flat[i]] += 1
    for i in range(flat.size):
        if area[flat[i]] < size:
            flat[i] = 0


def split_components(instances: torch.Tensor, diagonal: bool = False) -> torch.Tensor:
    """Give every connected piece of an instance its own id.

    Parameters
    ----------
    instances
        (B, H, W) integers, 0 background: maps in which augmentation may have cut a nucleus in two.
    diagonal
        Whether pixels that touch at a corner are connected.

    Returns
    -------
    (B, H, W) int64 on the same device; ids 1..n of each map in raster order of the pieces' first pixels.
    """
    if instances.device.type == "cpu":
        maps = [label_equal_regions(one, diagonal)[0] for one in instances.numpy()]
        return torch.from_numpy(np.stack(maps).astype(np.int64)) if maps else instances.long()
    return _split_on_device(instances, diagonal)


def _split_on_device(instances: torch.Tensor, diagonal: bool) -> torch.Tensor:
    """Smallest pixel number of each piece by neighbour minima and pointer jumping: a few dozen tensor passes."""
    batch, height, width = instances.shape
    size = height * width
    foreground = instances > 0
    own = torch.arange(size, device=instances.device).view(1, height, width).expand(batch, -1, -1)
    label = torch.where(foreground, own, size)
    steps = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if diagonal else [])
    while True:
        before = label
        for dy, dx in steps:
            label = _spread(label, instances, dy, dx)
        label = torch.where(foreground, _follow(label, label, size), size)
        if torch.equal(before, label):
            break
    rank = ((label == own) & foreground).flatten(1).cumsum(1)
    return torch.where(foreground, _follow(rank, label, 0), 0)


def _follow(values: torch.Tensor, pixel: torch.Tensor, default: int) -> torch.Tensor:
    """Value at the pixel number that each pixel points to; `default` one past the last."""
    flat = torch.nn.functional.pad(values.flatten(1), (0, 1), value=default)
    return flat.gather(1, pixel.flatten(1)).view_as(pixel)


def _spread(label: torch.Tensor, instances: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """Both ends of every (dy, dx) neighbour pair of one instance take the smaller label."""
    height, width = label.shape[1:]
    here = (slice(None), slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
    there = (slice(None), slice(dy, height), slice(max(0, dx), width + min(0, dx)))
    same = instances[here] == instances[there]
    label = label.clone()
    label[here] = torch.where(same, torch.minimum(label[here], label[there]), label[here])
    label[there] = torch.where(same, torch.minimum(label[here], label[there]), label[there])
    return label
