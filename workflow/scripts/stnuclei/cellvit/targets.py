"""Training targets of the three branches: binary map, HV distance maps and type map from instance maps.

The distance (HV) maps follow HoVer-Net (Graham 2019) as CellViT computes them: per instance and axis the pixel
index plus one minus the rounded centre of mass; negative values divided by their largest size, positive ones by
theirs. Zero therefore lies one pixel before the centre; this is kept, trained weights rely on it.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from stnuclei.cellvit.components import list_runs, split_components

_BIG = 1 << 30
_WIDENED = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64, np.dtype(np.uint64): np.int64}


def hv_maps(instances: torch.Tensor | np.ndarray, largest: int | None = None) -> torch.Tensor:
    """Horizontal and vertical distance maps.

    One compiled pass for maps in main memory, a few scatter operations for maps on a device. An id that occurs in
    two places counts as one nucleus (see `split_components`).

    Parameters
    ----------
    instances
        (B, H, W) integers, 0 background; ids need not be contiguous.
    largest
        No id is above it. A device is then not waited for to find it.

    Returns
    -------
    (B, 2, H, W) float32 in [-1, 1] on the same device; channel 0 = x, 1 = y; 0 in the background.

    Raises
    ------
    ValueError
        If the maps are not three-dimensional integers, or an id is negative.
    """
    floating = instances.is_floating_point() if isinstance(instances, torch.Tensor) else instances.dtype.kind == "f"
    if instances.ndim != 3 or floating:
        raise ValueError(f"instances must be integers (B, H, W), not {instances.dtype} {tuple(instances.shape)}")
    batch, height, width = instances.shape
    if isinstance(instances, torch.Tensor):
        if instances.device.type != "cpu":
            return _hv_scatter(signed(instances), largest)
        instances = instances.numpy()
    maps = np.zeros((batch, 2, height, width), np.float32)  # NumPy takes huge pages for batches, Numba does not
    if maps.size:
        compact, highest = _compact(_widened(instances))
        _fill_hv(compact, highest + 1, maps)
    return torch.from_numpy(maps)


def signed(instances: torch.Tensor | np.ndarray) -> torch.Tensor:
    """As a tensor of a signed type: torch can hardly compute with unsigned 16 bits."""
    if isinstance(instances, np.ndarray):
        return torch.from_numpy(_widened(instances))
    return instances.int() if instances.dtype == torch.uint16 else instances


def _widened(instances: np.ndarray) -> np.ndarray:
    """Contiguous and of a signed type."""
    return np.ascontiguousarray(instances, _WIDENED.get(instances.dtype))


def _compact(instances: np.ndarray) -> tuple[np.ndarray, int]:
    """Ids small enough for a table, left alone where they are and renumbered where not; the largest."""
    lowest, highest = int(instances.min()), int(instances.max())
    if lowest < 0:
        raise ValueError(f"instance ids must be 0 or more; found {lowest}")
    if highest <= 4 * instances[0].size:
        return instances, highest
    values, inverse = np.unique(instances, return_inverse=True)
    return inverse.reshape(instances.shape) + int(values[0] != 0), len(values)


@numba.njit(cache=True, nogil=True)
def _fill_hv(instances: np.ndarray, ids: int, maps: np.ndarray) -> None:
    """Distances of the pixels of ids below `ids` into `maps`, which holds zeros."""
    table = np.empty((ids, 7), np.int64)  # pixels, sum x, sum y, smallest and largest x, smallest and largest y
    shift = np.empty((ids, 2), np.int64)
    scale = np.ones((ids, 4), np.float32)  # negative x, positive x, negative y, positive y
    for b in range(len(instances)):
        runs = list_runs(instances[b])
        _measure(instances[b], runs, table)
        _scale(table, shift, scale)
        for y, start, end in runs:
            k = instances[b, y, start]
            shift_x, dy = shift[k, 0], y + shift[k, 1]
            value_y = np.float32(dy) / scale[k, 3 if dy > 0 else 2]
            negative, positive = scale[k, 0], scale[k, 1]
            for x in range(start, end):
                maps[b, 0, y, x] = np.float32(x + shift_x) / (positive if x + shift_x > 0 else negative)
                maps[b, 1, y, x] = value_y


@numba.njit(cache=True, nogil=True)
def _measure(instances: np.ndarray, runs: np.ndarray, table: np.ndarray) -> None:
    """Fill `table` with pixel count, coordinate sums and box of every id."""
    for k in range(table.shape[0]):
        table[k, 0] = table[k, 1] = table[k, 2] = 0
        table[k, 3] = table[k, 5] = _BIG
        table[k, 4] = table[k, 6] = -1
    for y, start, end in runs:
        k = instances[y, start]
        size = np.int64(end - start)
        table[k, 0] += size
        table[k, 1] += size * (start + end - 1) // 2
        table[k, 2] += size * y
        table[k, 3] = min(table[k, 3], start)
        table[k, 4] = max(table[k, 4], end - 1)
        table[k, 5] = min(table[k, 5], y)
        table[k, 6] = y


@numba.njit(cache=True, nogil=True)
def _scale(table: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> None:
    """Per id and axis: what to add to the index, and the largest distance on either side."""
    for k in range(1, table.shape[0]):
        n = table[k, 0]
        if n == 0:
            continue
        for axis in range(2):
            # floor(mean + 1/2) in integers: exact, however the official code crops
            centre = (2 * table[k, 1 + axis] + n) // (2 * n)
            shift[k, axis] = 1 - centre
            scale[k, 2 * axis] = max(1, centre - 1 - table[k, 3 + 2 * axis])
            scale[k, 2 * axis + 1] = max(1, table[k, 4 + 2 * axis] + 1 - centre)


def _hv_scatter(instances: torch.Tensor, largest: int | None = None) -> torch.Tensor:
    """The same by scatter operations over (map, id) for tensors on any device."""
    batch, height, width = instances.shape
    device = instances.device
    if instances.numel() == 0:
        return torch.zeros((batch, 2, height, width), device=device)
    ids = (int(instances.max()) if largest is None else largest) + 1
    if ids > 4 * height * width:
        values, inverse = torch.unique(instances, return_inverse=True)
        instances = inverse + int(values[0] != 0)
        ids = len(values) + 1
    slot = (instances.long() + ids * torch.arange(batch, device=device).view(-1, 1, 1)).flatten()
    n = torch.zeros(batch * ids, dtype=torch.long, device=device).scatter_add_(0, slot, torch.ones_like(slot))
    y = torch.arange(height, device=device).view(-1, 1).expand(batch, height, width).flatten()
    x = torch.arange(width, device=device).expand(batch, height, width).flatten()
    maps = torch.stack([_axis(x, slot, n), _axis(y, slot, n)])
    maps = torch.where(instances.flatten() > 0, maps, 0.0)
    return maps.view(2, batch, height, width).transpose(0, 1).contiguous()


def _axis(position: torch.Tensor, slot: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Scaled distance of every pixel along one axis; float32, flat."""
    total = torch.zeros_like(n).scatter_add_(0, slot, position)
    low = torch.full_like(n, _BIG).scatter_reduce_(0, slot, position, "amin")
    high = torch.full_like(n, -1).scatter_reduce_(0, slot, position, "amax")
    centre = torch.div(2 * total + n, (2 * n).clamp(min=1), rounding_mode="floor")
    negative, positive = (centre - 1 - low).clamp(min=1), (high + 1 - centre).clamp(min=1)
    distance = position + 1 - centre[slot]
    return distance.float() / torch.where(distance > 0, positive[slot], negative[slot]).float()


def type_map(instances: torch.Tensor | np.ndarray, class_table: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Class of every pixel by one table look-up.

    Parameters
    ----------
    instances
        (B, H, W) integers: k is the nucleus of row k - 1 of its map's table, 0 background.
    class_table
        (B, K) integers: class id of nucleus k in column k - 1, -1 Unknown (and padding).

    Returns
    -------
    (B, H, W) int64: 0 background, class ids, -1 in nuclei of unknown class.

    Raises
    ------
    ValueError
        If the shapes do not fit, or an id has no row (the latter checked on the CPU only, where it costs no
        synchronisation; a device raises an error of its own).
    """
    return _looked_up(instances, torch.as_tensor(class_table).long(), 0)


def _looked_up(instances: torch.Tensor | np.ndarray, class_table: torch.Tensor, background: int) -> torch.Tensor:
    """Value of every pixel's nucleus in a table (B, K), `background` outside nuclei; the table's type, (B, H, W)."""
    instances = signed(instances)
    if class_table.ndim != 2 or len(class_table) != len(instances):
        raise ValueError(f"class_table must be (B, K) with B = {len(instances)}, not {tuple(class_table.shape)}")
    if instances.device.type == "cpu" and instances.numel() and int(instances.max()) > class_table.shape[1]:
        raise ValueError(f"instance {int(instances.max())} has no row in a class table of {class_table.shape[1]}")
    table = torch.nn.functional.pad(class_table, (1, 0), value=background)
    return table.gather(1, instances.long().flatten(1)).view(instances.shape)


def make_targets(
    instances: torch.Tensor | np.ndarray,
    class_table: torch.Tensor | np.ndarray,
    split: bool = False,
    *,
    allowed: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """All targets of a batch, after augmentation.

    Parameters
    ----------
    instances
        (B, H, W) integers, see `type_map`.
    class_table
        (B, K) class ids, see `type_map`.
    split
        Count the pieces of an instance that augmentation cut apart as nuclei of their own; the official code
        (and the default) takes them as one.
    allowed
        (B, K) int32, bit c set where class c is allowed for a nucleus (`Taxonomy.encode_sets`), 0 Unknown; None: every
        nucleus has the one class of `class_table`.
    weight
        (B, K) float, weight of a nucleus in the class loss; None: 1.

    Returns
    -------
    ``instances`` (B, H, W) int64, ``binary`` (B, H, W) int64 0 or 1, ``hv`` (B, 2, H, W) float32,
    ``types`` (B, H, W) int64 with -1 = Unknown; with `allowed` also ``allowed`` (B, H, W) int32 (bit 0 = background),
    with `weight` also ``weight`` (B, H, W) float32, 1 in the background.
    """
    instances, class_table = signed(instances), torch.as_tensor(class_table)
    targets = {"types": type_map(instances, class_table)}
    if allowed is not None:
        targets["allowed"] = _looked_up(instances, allowed.int(), 1)
    if weight is not None:
        targets["weight"] = _looked_up(instances, weight.float(), 1)
    if split:
        instances, largest = split_components(instances), None
    else:
        instances, largest = instances.long(), class_table.shape[1]
    hv = hv_maps(instances, largest)
    return {"instances": instances, "binary": (instances > 0).long(), "hv": hv, **targets}
