"""Connected components of masks and label maps: by runs in one compiled pass, or in a few tensor passes on a device."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch


class Runs(NamedTuple):
    """Stretches of equal, non-zero pixels of a row, in raster order, with the region each belongs to.

    Parameters
    ----------
    row, start, end
        (R,) int32: pixels ``[row, start:end]``.
    region
        (R,) int32: 1..n, numbered by the regions' first pixels.
    area
        (n + 1,) int64 px of each region.
    """

    row: np.ndarray
    start: np.ndarray
    end: np.ndarray
    region: np.ndarray
    area: np.ndarray


@numba.njit(cache=True, nogil=True)
def borders_of(width: int) -> np.ndarray:
    """Room for the marks of a row, for `list_borders`: a byte a pixel, the row's end marked."""
    border = np.zeros((width + 8) // 8 * 8, np.uint8)
    border[width] = 1
    return border


@numba.njit(cache=True, nogil=True)
def list_borders(border: np.ndarray, ends: np.ndarray) -> int:
    """Columns of the marked pixels of a row into `ends`; their number.

    Marks come from comparisons that the compiler gives to the vector units. They are looked for eight at a time and
    taken without a branch, which no processor could foresee.
    """
    words = border.view(np.uint64)
    found = 0
    for w in range(words.size):
        if words[w]:
            for x in range(8 * w, 8 * w + 8):
                ends[found] = x
                found += border[x]
    return found


@numba.njit(cache=True, nogil=True)
def _longer(runs: np.ndarray, count: int, width: int) -> np.ndarray:
    """The first `count` runs in an array twice as long, and a row longer; compiled once, not once a type of pixels."""
    larger = np.empty((2 * len(runs) + width, 3), np.int32)
    larger[:count] = runs[:count]
    return larger


@numba.njit(cache=True, nogil=True)
def list_runs(values: np.ndarray) -> np.ndarray:
    """Row, start and end of the stretches of equal, non-zero pixels of a row, in raster order: (R, 3) int32."""
    height, width = values.shape
    border, ends = borders_of(width), np.empty(width + 8, np.int32)
    runs = np.empty((values.size // 16 + width, 3), np.int32)
    count = 0
    for y in range(height if width else 0):
        if count + width > len(runs):
            runs = _longer(runs, count, width)
        line = values[y]
        for x in range(1, width):
            border[x] = line[x] != line[x - 1]
        start = 0
        for i in range(list_borders(border, ends)):
            if line[start]:
                runs[count, 0], runs[count, 1], runs[count, 2] = y, start, ends[i]
                count += 1
            start = ends[i]
    return runs[:count]


@numba.njit(cache=True, nogil=True)
def find_runs(values: np.ndarray, diagonal: bool = False) -> Runs:
    """Runs and connected regions of equal, non-zero value.

    Parameters
    ----------
    values
        (H, W) integers or bytes; 0 is background.
    diagonal
        Whether pixels that touch at a corner are connected (8 instead of 4 neighbours).
    """
    height, width = values.shape
    row, start, end, parent = _room(values.size // 16 + width)
    border, ends = borders_of(width), np.empty(width + 8, np.int32)
    reach = 1 if diagonal else 0
    count = above = 0  # runs so far; the first run of the row above that may still touch
    for y in range(height if width else 0):
        first = count
        if count + width > row.size:  # few pictures have so many: fresh memory for all that could be costs more
            row, start, end, parent = _with_more_room((row, start, end, parent), count, width)
        line = values[y]
        for x in range(1, width):
            border[x] = line[x] != line[x - 1]
        x = 0
        for i in range(list_borders(border, ends)):
            begin, x = x, ends[i]
            value = line[begin]
            if value == 0:
                continue
            row[count], start[count], end[count], parent[count] = y, begin, x, count
            while above < first and (row[above] < y - 1 or end[above] + reach <= begin):
                above += 1
            other = above
            while other < first and start[other] < x + reach:
                if values[y - 1, start[other]] == value:
                    _join(parent, other, count)
                other += 1
            count += 1
        above = first
    return _number_regions(row[:count], start[:count], end[:count], parent)


# What does not depend on the type of the pixels is compiled once, not once a type.
@numba.njit(cache=True, nogil=True)
def _room(runs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, start, end and parent of so many runs."""
    return np.empty(runs, np.int32), np.empty(runs, np.int32), np.empty(runs, np.int32), np.empty(runs, np.int32)


@numba.njit(cache=True, nogil=True)
def _with_more_room(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], count: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first `count` runs in arrays twice as long, and a row longer."""
    larger = _room(2 * arrays[0].size + width)
    for k in range(len(arrays)):
        larger[k][:count] = arrays[k][:count]
    return larger


@numba.njit(cache=True, nogil=True)
def _number_regions(row: np.ndarray, start: np.ndarray, end: np.ndarray, parent: np.ndarray) -> Runs:
    """Runs with the number and the area of their regions."""
    region = np.empty(row.size, np.int32)
    n_regions = 0
    for run in range(row.size):
        root = _root(parent, run)
        if root == run:  # the smallest run of a region is its root and comes first
            n_regions += 1
            region[run] = n_regions
        else:
            region[run] = region[root]
    area = np.zeros(n_regions + 1, np.int64)
    for run in range(row.size):
        area[region[run]] += end[run] - start[run]
    return Runs(row, start, end, region, area)


@numba.njit(cache=True, nogil=True)
def large_runs(values: np.ndarray, smallest: int) -> Runs:
    """`find_runs` without the regions of fewer than `smallest` pixels; the others keep their number."""
    runs = find_runs(values)
    kept = 0
    for run in range(runs.row.size):
        if runs.area[runs.region[run]] >= smallest:
            runs.row[kept], runs.start[kept], runs.end[kept] = runs.row[run], runs.start[run], runs.end[run]
            runs.region[kept] = runs.region[run]
            kept += 1
    return Runs(runs.row[:kept], runs.start[:kept], runs.end[:kept], runs.region[:kept], runs.area)


@numba.njit(cache=True, nogil=True)
def _root(parent: np.ndarray, index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


@numba.njit(cache=True, nogil=True)
def _join(parent: np.ndarray, first: int, second: int) -> None:
    first, second = _root(parent, first), _root(parent, second)
    parent[max(first, second)] = min(first, second)


@numba.njit(cache=True, nogil=True)
def label_regions(values: np.ndarray, diagonal: bool = False, smallest: int = 1) -> np.ndarray:
    """Number the connected regions of equal, non-zero value.

    Parameters
    ----------
    values
        (H, W) integers or bytes; 0 is background.
    diagonal
        Whether pixels that touch at a corner are connected.
    smallest
        Regions of fewer pixels are left out.

    Returns
    -------
    (H, W) int32, regions numbered 1..n in raster order of their first pixel.
    """
    labels = np.zeros(values.shape, np.int32)
    runs = find_runs(values, diagonal)
    number = np.zeros(runs.area.size, np.int32)
    kept = 0
    for region in range(1, runs.area.size):
        if runs.area[region] >= smallest:
            kept += 1
            number[region] = kept
    for run in range(runs.row.size):
        value = number[runs.region[run]]
        for x in range(runs.start[run], runs.end[run]):
            labels[runs.row[run], x] = value
    return labels


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
        pieces = torch.empty(instances.shape, dtype=torch.int64)
        for i, labels in enumerate(instances.numpy()):
            pieces[i] = torch.from_numpy(label_regions(labels, diagonal))
        return pieces
    return _split_on_device(instances, diagonal)


def _split_on_device(instances: torch.Tensor, diagonal: bool) -> torch.Tensor:
    """Smallest pixel number of each piece by neighbour minima and pointer jumping: a few dozen tensor passes."""
    batch, height, width = instances.shape
    size = height * width
    foreground = instances > 0
    pixel = torch.arange(size, device=instances.device).view(1, height, width).expand(batch, -1, -1)
    label = torch.where(foreground, pixel, size)
    steps = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if diagonal else [])
    while True:
        before = label
        for dy, dx in steps:
            label = _spread(label, instances, dy, dx)
        label = torch.where(foreground, _follow(label, label, size), size)
        if torch.equal(before, label):
            break
    rank = ((label == pixel) & foreground).flatten(1).cumsum(1)
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
