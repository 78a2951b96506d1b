"""What one of two processes does in the tests; see test_distributed.py."""

import sys
from pathlib import Path

import torch

from stnuclei.cellvit import build_model
from stnuclei.cellvit.decoder import Widths
from stnuclei.cellvit.losses import OFFICIAL_WEIGHTS, cellvit_losses, total_loss
from stnuclei.cellvit.targets import make_targets
from stnuclei.config.training import TrainSettings
from stnuclei.errors import UserError
from stnuclei.training import resume
from stnuclei.training.distributed import SharedBatchNorm, process_group, sum_over_processes
from stnuclei.training.run import set_trainable


def batch():
    """Eight pictures of squares, 32 px."""
    torch.manual_seed(3)
    instances = torch.zeros(8, 32, 32, dtype=torch.int32)
    for b in range(8):
        for k in range(5):
            y, x = torch.randint(0, 24, (2,)).tolist()
            instances[b, y : y + 7, x : x + 7] = k + 1
    images = torch.randn(8, 3, 32, 32) + (instances > 0)[:, None]
    classes = torch.randint(-1, 6, (8, 5))
    return images, instances, classes, torch.randint(0, 2, (8,))


def backward(model, network, rows, reduce):
    """Gradients of the loss over some rows of the batch."""
    images, instances, classes, tissue = (part[rows] for part in batch())
    targets = make_targets(instances, classes) | {"tissue": tissue}
    terms = cellvit_losses(network(images.double()), targets, reduce=reduce)
    total_loss(terms, OFFICIAL_WEIGHTS).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def fresh():
    """A small CellViT without dropout, the same each time."""
    torch.manual_seed(1)
    return build_model("cellvit-tiny", 6, 2).double()


def gradients(folder: Path) -> None:
    """Compare both processes' gradients with those of the whole batch in one process."""
    with process_group("cpu") as group:
        model = SharedBatchNorm.convert(fresh())
        rows = slice(4 * group.rank, 4 * group.rank + 4)
        halves = backward(model, group.wrap(model), rows, sum_over_processes)
        learnt = headless(group)
        if group.is_main:
            alone = fresh()
            whole = backward(alone, alone, slice(None), None)
            difference = {name: float((whole[name] - halves[name]).abs().max()) for name in whole}
            buffers = zip(alone.buffers(), model.buffers(), strict=True)
            torch.save(
                {
                    "difference": difference,
                    "largest": max(float(g.abs().max()) for g in whole.values()),
                    "headless": learnt,
                    "buffers": max(float((a - b).abs().max()) for a, b in buffers),
                },
                folder / "gradients.pt",
            )
        group.barrier()


def headless(group) -> dict[str, bool]:
    """Two steps without a tissue head, after which DDP must not wait for parameters that nothing reads."""
    images, instances, classes, _ = (part[4 * group.rank :][:4] for part in batch())
    seen = {}
    for name in ("cellvit-tiny", "cellvit-sam-b"):
        small = {"dim": 32, "depth": 4, "heads": 2, "skips": (1, 2, 3, 4)} if name == "cellvit-sam-b" else {}
        network = build_model(name, 6, 0, widths=Widths(16, 16, 16, 16, 8, 8, 8), **small)
        set_trainable(network, TrainSettings(), 0)
        model = group.wrap(network)
        for _ in range(2):
            network.zero_grad()
            terms = cellvit_losses(model(images), make_targets(instances, classes))
            total_loss(terms, OFFICIAL_WEIGHTS).backward()
        seen[name] = all((p.grad is not None) == p.requires_grad for p in network.parameters())
    return seen


def agree() -> None:
    """Sum numbers and flags."""
    with process_group("cpu") as group:
        total = group.sum([1.0 + group.rank, 10.0 + 10 * group.rank])
        print(total.tolist(), group.any(group.rank == 1, False), flush=True)


def state(folder: Path) -> None:
    """Load a state that only the first process sees, as with a folder on a disk of one machine."""
    with process_group("cpu") as group:
        own = folder / f"machine{group.rank}"
        own.mkdir()
        identity = {"settings": {}, "data": "d", "classes": [], "tissues": []}
        if group.is_main:
            resume.save(own, resume.TrainingState(epoch=3), {}, identity)
        try:
            resume.load(own, {}, identity, "cpu", group)
        except UserError as error:
            print(str(error).split(": ", 1)[1], flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "agree":
        agree()
    else:
        {"gradients": gradients, "state": state}[sys.argv[1]](Path(sys.argv[2]))
