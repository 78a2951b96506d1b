"""The order of the rooms (CONTRIBUTING.md): imports point down, in no circle, and none hides in a function."""

import ast
from functools import cache
from pathlib import Path

from paths import ROOT

PACKAGE = ROOT / "workflow" / "scripts" / "stnuclei"
#: From the top floor down; rooms of one line may import each other, files never in a circle.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("reporting",),
    ("expression",),
    ("training",),
    ("classifiers",),
    ("export",),
    ("evaluation",),
    ("prediction",),
    ("loading", "augmentation"),
    ("quality",),
    ("labels",),
    ("patches",),
    ("clustering", "markers"),
    ("cellvit",),
    ("io",),
    ("slides",),
    ("config",),
    ("provenance", "simulate"),
    ("drawing",),
    ("disk", "errors", "fetch", "files", "joblog", "metrics", "progress", "resources", "runlog", "tables", "taxonomy"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@cache
def modules() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(name: str) -> list[tuple[ast.ImportFrom | ast.Import, str]]:
    """Imports of the package's own modules in a file, each with the module it names."""
    arrows = []
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "stnuclei":
            stem = node.module.removeprefix("stnuclei").lstrip(".")
            for alias in node.names:
                deep = f"{stem}.{alias.name}".lstrip(".")
                arrows.append((node, deep if deep in modules() else stem))
        elif isinstance(node, ast.Import):
            arrows += [(node, alias.name[9:]) for alias in node.names if alias.name.startswith("stnuclei.")]
    return arrows


def test_every_room_has_its_floor():
    rooms = {name.split(".")[0] for name in modules()} - {"__init__"}
    assert rooms == set(FLOOR), rooms ^ set(FLOOR)


def test_imports_point_down():
    upward = [
        f"{name}:{node.lineno} imports {target}"
        for name in modules()
        for node, target in imports(name)
        if name != "__init__" and target and target != "__init__"
        if (here := name.split(".")[0]) != (there := target.split(".")[0]) and FLOOR[there] <= FLOOR[here]
        if not (FLOOR[there] == FLOOR[here] and len(FLOORS) - 1 == FLOOR[here])
    ]
    assert not upward, "\n".join(upward)


def test_no_circle_of_files():
    arrows = {name: {target for _, target in imports(name) if target in modules()} - {name} for name in modules()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in arrows[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


def test_no_import_of_the_package_hides_in_a_function():
    hidden = [
        f"{name}:{node.lineno} imports {target}"
        for name, tree in modules().items()
        if not name.startswith("cli.")  # each subcommand imports what it runs: --help must not wait for torch
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node, target in imports(name)
        if function.lineno < node.lineno <= (function.end_lineno or 0)
    ]
    assert not hidden, "\n".join(hidden)


def test_the_package_knows_no_snakemake():
    for name, tree in modules().items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(text.split(".")[0] == "snakemake" for text in names), f"{name}:{node.lineno}"
