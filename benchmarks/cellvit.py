"""CellViT: forward, targets, losses, post-processing, metrics against plain versions; on a GPU also patches a second.

    python benchmarks/cellvit.py --write

Plain versions are `plain.py` and `targets_postprocess.py` beside this file: the published steps written out. Both take
turns on one thread and the fastest tenth of rounds counts, so that a busy machine hits both alike. Where torch sees a
GPU: patches of 256 px a second in bf16, forward and training step, with peak memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

import plain  # noqa: E402
from ratio import Ratio  # noqa: E402
from ratio import race as cpu_race  # noqa: E402
from stnuclei.cellvit import build_model, cellvit_losses, total_loss  # noqa: E402
from stnuclei.cellvit.targets import make_targets  # noqa: E402
from targets_postprocess import forty, measure, race  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "cellvit.md"
BATCHES = (16, 64, 256)


def forward_rows(rounds: int) -> list[tuple[str, str, float, float]]:
    """Forward of one patch of 256 px, and the largest difference between both, relative."""
    rows = []
    for arch in ("cellvit-256", "cellvit-sam-b"):
        torch.manual_seed(0)
        model = build_model(arch, 6, 19).eval()
        contiguous = build_model(arch, 6, 19).eval().to(memory_format=torch.contiguous_format)
        contiguous.load_state_dict(model.state_dict())
        x = torch.randn(1, 3, 256, 256)
        with torch.inference_mode():
            first, second = plain.forward(contiguous, x), model(x)
            worst = max(float((first[k] - second[k]).abs().max() / first[k].abs().max()) for k in first)
            pair = (lambda m=contiguous, x=x: plain.forward(m, x)), (lambda m=model, x=x: m(x))
            rows.append((f"{arch}, 1 patch (differ by {worst:.0e})", "forward", *race(*pair, rounds=rounds)))
    return rows


def loss_steps() -> tuple[Callable[[], object], Callable[[], object], float]:
    """Losses of 4 patches and their gradients with respect to the maps, plain and ours; their relative difference."""
    torch.manual_seed(0)
    instances = np.stack([forty(seed)[0] for seed in range(4)])
    targets = make_targets(instances, torch.arange(40).remainder(5).add(1).to(torch.int8).expand(4, 40))
    targets["tissue"] = torch.arange(4)
    shapes = {"nuclei_binary_map": 2, "hv_map": 2, "nuclei_type_map": 6}
    outputs = {
        name: torch.randn(4, c, 256, 256).contiguous(memory_format=torch.channels_last).requires_grad_()
        for name, c in shapes.items()
    }
    outputs["tissue_types"] = torch.randn(4, 19).requires_grad_()

    def step(function: Callable[..., dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        terms = function(outputs, targets)
        total_loss(terms).backward()
        return terms

    first, second = step(plain.losses), step(cellvit_losses)
    worst = max(abs(first[name].item() / second[name].item() - 1) for name in first)
    return (lambda: step(plain.losses)), (lambda: step(cellvit_losses)), worst


def loss_rows(rounds: int) -> list[tuple[str, str, float, float]]:
    """Losses of 4 patches and their gradients, from maps as the network leaves them."""
    *pair, worst = loss_steps()
    return [(f"4 patches (differ by {worst:.0e})", "losses and gradients", *race(*pair, rounds=rounds))]


def tiny_rows(batch: int) -> list[str]:
    """CPU seconds of a training step of cellvit-tiny; the processor's clock, so that other work does not count."""
    lines = ["| cellvit-tiny, one thread | CPU seconds a step | patches a CPU second |", "|---|--:|--:|"]
    for dtype in (torch.float32, torch.bfloat16):
        step = _step(build_model("cellvit-tiny", 6, 3), "cpu", batch, dtype)
        step()
        times = []
        for _ in range(4):
            start = time.process_time()
            step()
            times.append(time.process_time() - start)
        lines.append(f"| batch {batch}, {str(dtype)[6:]} | {min(times):.2f} | {batch / min(times):.1f} |")
    return lines


def _step(model: torch.nn.Module, device: str, batch: int, dtype: torch.dtype) -> Callable[[], None]:
    """A training step: targets, forward, losses, backward, AdamW."""
    model = model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    images = torch.randn(batch, 3, 256, 256, device=device).contiguous(memory_format=torch.channels_last)
    instances = torch.from_numpy(np.stack([forty(seed)[0] for seed in range(8)])).to(device)
    instances = instances.repeat(-(-batch // 8), 1, 1)[:batch]
    classes = torch.arange(40, device=device).remainder(5).add(1).to(torch.int8).expand(batch, 40)

    def step() -> None:
        targets = make_targets(instances, classes) | {"tissue": torch.zeros(batch, dtype=torch.long, device=device)}
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            outputs = model(images)
        total_loss(cellvit_losses(outputs, targets)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def gpu_rows(architectures: list[str], compiled: bool) -> list[str]:
    """Patches a second in bf16 and peak memory, by architecture and batch."""
    lines = [
        "| model | batch | forward, patches/s | GiB | training step, patches/s | GiB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for arch in architectures:
        for batch in BATCHES:
            model = build_model(arch, 6, 19)
            if compiled:
                model.compile()
            x = torch.randn(batch, 3, 256, 256, device="cuda").contiguous(memory_format=torch.channels_last)
            forward = _gpu_speed(_forward(model.cuda().eval(), x), batch)
            train = _gpu_speed(_step(model, "cuda", batch, torch.bfloat16), batch)
            lines.append(f"| {arch} | {batch} | {forward} | {train} |")
            print(lines[-1], flush=True)
            del model, x
    return lines


def _forward(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], None]:
    def forward() -> None:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            model(x)

    return forward


def _gpu_speed(function: Callable[[], None], batch: int, rounds: int = 10) -> str:
    """``patches a second | peak GiB`` of a table row; what does not fit in memory says so."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        for _ in range(3):
            function()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(rounds):
            function()
        torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        return "does not fit | "
    speed = rounds * batch / (time.perf_counter() - start)
    return f"{speed:,.0f} | {torch.cuda.max_memory_allocated() / 2**30:.1f}"


def small() -> list[Ratio]:
    """CPU time of a forward pass of cellvit-256 and of losses with gradients, ours against the plain steps."""
    torch.manual_seed(0)
    model, x = build_model("cellvit-256", 6, 19).eval(), torch.randn(1, 3, 256, 256)
    contiguous = build_model("cellvit-256", 6, 19).eval().to(memory_format=torch.contiguous_format)
    with torch.inference_mode():
        written_out, ours = cpu_race(lambda: plain.forward(contiguous, x), lambda: model(x), rounds=2)
    written, fast = cpu_race(*loss_steps()[:2], rounds=5)
    return [
        Ratio("forward of cellvit-256, plain steps", written_out / ours),
        Ratio("losses, plain steps", written / fast),
    ]


def main() -> None:
    """Race, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of forward and losses")
    parser.add_argument("--architectures", nargs="+", default=["cellvit-256", "cellvit-sam-b", "cellvit-sam-h"])
    parser.add_argument("--compile", action="store_true", help="torch.compile on the GPU")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = forward_rows(options.rounds) + loss_rows(options.rounds) + measure("1 patch, 40 nuclei", *forty(0))
    lines = ["| what | step | plain ms | ours ms | times faster |", "|---|---|--:|--:|--:|"]
    lines += [f"| {name} | {step} | {a:.2f} | {b:.2f} | {a / b:.1f} |" for name, step, a, b in rows]
    lines += ["", *tiny_rows(8), ""]
    if torch.cuda.is_available():
        lines += [
            f"{torch.cuda.get_device_name()}, bf16, 256 px:",
            "",
            *gpu_rows(options.architectures, options.compile),
        ]
    else:
        lines.append("No GPU was at hand for this run: patches a second in bf16 and peak memory are not measured.")
    print("\n".join(lines))
    if options.write:
        head = f"# CellViT: plain steps against ours\n\n256 px, one CPU thread, torch {torch.__version__}, "
        head += f"Python {platform.python_version()}.\n`python benchmarks/cellvit.py --write`\n\n"
        RESULT.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
