"""Random batches of patches, pixels and ids together, on one core: our store and loader beside what others do.

    python benchmarks/patches.py [--patches 4096] [--write]

Compared: PNG + pickled npy files as CellViT keeps them, a webdataset-like tar of PNG + npz (sequential, as it must be),
zarr-python over our store (fancy indexing, and patch by patch), and our loader. Then a cold disk: the system's cache is
emptied for the files (posix_fadvise), and the same epoch is read at random and by shards with the sweep.
Seconds of CPU are given beside the clock's: on a machine that others use only they can be compared.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import zarr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from ratio import Ratio, race  # noqa: E402
from stnuclei.loading.loader import PatchLoader, ReadSettings  # noqa: E402
from stnuclei.loading.slow_disk import by_shards  # noqa: E402
from stnuclei.loading.sources import Source  # noqa: E402
from stnuclei.patches import PatchBlock, PatchStore, write_patches  # noqa: E402

P, BATCH = 256, 256


def block(n: int, seed: int) -> PatchBlock:
    """Pink patches with noise and about 40 discs."""
    random = np.random.default_rng(seed)
    ids = np.zeros((n, P, P), np.uint16)
    for one in ids:
        for k in range(1, 41):
            cv2.circle(one, random.integers(0, P, 2).tolist(), int(random.integers(5, 12)), k, -1)
    texture = cv2.GaussianBlur(random.normal(size=(P, P, 3)), (0, 0), 1.5) * 40
    image = np.where(ids[..., None] > 0, [110, 80, 150], [225, 170, 200]) + texture + random.normal(0, 4, (n, P, P, 3))
    image = np.clip(image, 0, 255).astype(np.uint8)
    rows = np.arange(40 * n, dtype=np.int32)
    zeros = np.zeros((n, 2), np.int32)
    centroid = np.zeros((40 * n, 2), np.float32)
    return PatchBlock(image, ids, zeros, np.zeros(n, np.uint8), np.full(n, 40), rows, rows, centroid)


def write_all(folder: Path, n: int) -> None:
    """The same patches in every form."""
    blocks = (block(64, seed) for seed in range(n // 64))
    write_patches(folder / "patches.zarr", blocks, {"sample": "b", "tissues": ["Breast"], "um_per_px": 0.25})
    store = PatchStore(folder / "patches.zarr")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    with tarfile.open(folder / "patches.tar", "w") as tar:
        for i in range(n):
            image, ids = store.image[i], store.instances[i].astype(np.int32)
            png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
            (folder / "images" / f"{i}.png").write_bytes(png)
            np.save(folder / "labels" / f"{i}.npy", {"inst_map": ids, "type_map": (ids > 0).astype(np.int32)})
            packed = io.BytesIO()
            np.savez_compressed(packed, ids=ids.astype(np.uint16))
            for suffix, content in (("png", png), ("npz", packed.getvalue())):
                info = tarfile.TarInfo(f"{i}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def decode(png: bytes) -> np.ndarray:
    """RGB pixels."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def stacked(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> int:
    """Batches as the step takes them: channels first uint8, int32 ids. Returns the number of patches."""
    n, images, ids = 0, [], []
    for image, one in pairs:
        images.append(image)
        ids.append(one)
        if len(images) == BATCH:
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
            torch.from_numpy(np.stack(ids).astype(np.int32))
            n, images, ids = n + len(images), [], []
    return n + len(images)


def files(folder: Path, order: np.ndarray) -> int:
    """PNG + npy, one item after the other."""

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in order:
            label = np.load(folder / "labels" / f"{i}.npy", allow_pickle=True).item()
            yield decode((folder / "images" / f"{i}.png").read_bytes()), label["inst_map"]

    return stacked(pairs())


def tar(folder: Path, order: np.ndarray) -> int:
    """The tar from its beginning; it has no random access."""

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with tarfile.open(folder / "patches.tar") as archive:
            image = None
            for count, info in enumerate(archive):
                if count >= 2 * len(order):
                    return
                content = archive.extractfile(info).read()
                if info.name.endswith("png"):
                    image = decode(content)
                else:
                    yield image, np.load(io.BytesIO(content))["ids"]

    return stacked(pairs())


def zarr_fancy(folder: Path, order: np.ndarray) -> int:
    """zarr-python, a batch by orthogonal indexing."""
    group = zarr.open_group(folder / "patches.zarr", mode="r")
    for begin in range(0, len(order), 32):
        group["image"].oindex[order[begin : begin + 32]]
        group["instances"].oindex[order[begin : begin + 32]]
    return len(order)


def zarr_single(folder: Path, order: np.ndarray) -> int:
    """zarr-python, patch by patch."""
    group = zarr.open_group(folder / "patches.zarr", mode="r")
    image, ids = group["image"], group["instances"]
    return stacked((image[int(i)], ids[int(i)]) for i in order)


def ours(folder: Path, order: np.ndarray, sweep: int = 0, threads: int = 1) -> int:
    """Our loader."""
    reading = ReadSettings(threads=threads, sweep=sweep)
    loader = PatchLoader([Source(folder / "patches.zarr")], "pannuke", BATCH, order, reading=reading)
    return sum(len(batch["index"]) for batch in loader)


def timed(run: Callable[[], int]) -> tuple[float, float]:
    """Patches a second of the clock and of CPU."""
    begin, cpu = time.perf_counter(), time.process_time()
    n = run()
    return n / (time.perf_counter() - begin), n / (time.process_time() - cpu)


def forget(folder: Path) -> None:
    """Let the system drop what it has cached of the store."""
    for path in (folder / "patches.zarr").rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def warm_rows(folder: Path, n: int) -> list[str]:
    """One line a form, best of two runs, on one core."""
    order = np.random.default_rng(0).permutation(n)
    forms = [
        ("PNG + pickled npy files, as CellViT keeps them", files, order[:512]),
        ("tar of PNG + npz, sequential (webdataset)", tar, order[:512]),
        ("our store by zarr-python, `oindex[32]`", zarr_fancy, order[:64]),
        ("our store by zarr-python, patch by patch", zarr_single, order[:1024]),
        ("**our loader**, random 256-patch batches", ours, np.concatenate([order] * 6)),
    ]
    lines = []
    for label, run, chosen in forms:
        best = max((timed(lambda run=run, chosen=chosen: run(folder, chosen)) for _ in range(3)), key=lambda r: r[1])
        lines.append(f"| {label} | {best[0]:,.0f} | {best[1]:,.0f} |")
        print(lines[-1], flush=True)
    return lines


def cold_rows(folder: Path, n: int) -> list[str]:
    """One line an order, each from a cold cache."""
    order = np.random.default_rng(1).permutation(n)
    shards = by_shards(order, [n], seed=1, window=4)
    lines = []
    for label, chosen, sweep in (
        ("random order", order, 0),
        ("by shards (window 4), no sweep", shards, 0),
        ("by shards (window 4), files swept ahead", shards, 4),
    ):
        forget(folder)
        rate, _ = timed(lambda chosen=chosen, sweep=sweep: ours(folder, chosen, sweep, threads=2))
        lines.append(f"| {label} | {rate:,.0f} | {rate * 0.199:,.0f} MB/s |")
        print(lines[-1], flush=True)
    return lines


def small() -> list[Ratio]:
    """CPU time of random batches by our loader against other forms, 256 patches."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_all(folder, 256)
        order = np.random.default_rng(0).permutation(256)
        epochs = np.concatenate([order] * 4)
        forms = {"PNG + pickled npy": files, "tar of PNG + npz": tar, "zarr-python, patch by patch": zarr_single}
        runs = [lambda form=form: form(folder, order) for form in forms.values()]
        mine, *peers = race(lambda: ours(folder, epochs), *runs, rounds=3)
    return [Ratio(f"our loader, {name}", 4 * peer / mine) for name, peer in zip(forms, peers, strict=True)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=4096)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/patches.md")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_all(folder, given.patches)
        cold = cold_rows(folder, given.patches)
        for thread in os.listdir("/proc/self/task"):  # those of tensorstore, too
            os.sched_setaffinity(int(thread), {min(os.sched_getaffinity(0))})
        warm = warm_rows(folder, given.patches)
        bytes_a_patch = PatchStore(folder / "patches.zarr").attrs["counts"]["bytes_per_patch"]
    load = os.getloadavg()[0]
    text = "\n".join(
        [
            f"{platform.machine()}, pinned to one core, {given.patches:,} patches of 256 px with 40 nuclei, warm cache;"
            f" {bytes_a_patch / 1e3:.0f} kB a patch in our store. Load of the machine at the end: {load:.1f}.",
            "",
            "| pixels + ids | patches/s | patches per CPU second |",
            "|---|---:|---:|",
            *warm,
            "",
            "From a cold cache, two threads:",
            "",
            "| order | patches/s | from disk |",
            "|---|---:|---:|",
            *cold,
            "",
            "Computed, not measured, for a disk of 8 ms a seek and 150 MB/s: at random each patch costs four short "
            f"reads (index and data of two files), "
            f"{1 / (4 * 0.008 + 0.199 / 150):.0f} patches/s; by shards with the sweep, "
            f"{1 / (0.199 / 150 + 2 * 0.008 / 256):.0f} patches/s.",
        ]
    )
    print(text)
    if given.write:
        content = f"# Reading patches\n\n`python benchmarks/patches.py --patches {given.patches} --write`\n\n{text}\n"
        (ROOT / "benchmarks" / "results" / "patches.md").write_text(content)


if __name__ == "__main__":
    main()
