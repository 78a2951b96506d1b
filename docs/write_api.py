"""Write docs/api.md from the docstrings of the public names: ``python docs/write_api.py``."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import stnuclei

PAGE = Path(__file__).with_name("api.md")
#: Packages whose public names the page lists, in the order of the work.
PACKAGES = ("io", "slides", "quality", "clustering", "markers", "labels", "patches", "cellvit", "training",
            "prediction", "evaluation", "classifiers", "export")  # fmt: skip
_HEAD = """\
# Public names

Written from the docstrings by `python docs/write_api.py`; a test holds it current. `stnuclei.NAME` is what most
people need; the packages below hold the rest. Arrays are (row, column), coordinates (x, y).
"""


def page() -> str:
    """Text of the page."""
    parts = [_HEAD, "## stnuclei\n", _table(stnuclei)]
    for name in PACKAGES:
        package = getattr(stnuclei, name)
        parts += [f"## stnuclei.{name}\n", f"{_first(package)}\n"]
        parts += [_entry(name, public, getattr(package, public)) for public in sorted(_public(package))]
    return "\n".join(parts)


def _public(package: object) -> list[str]:
    return [name for name in dir(package) if not name.startswith("_") and not inspect.ismodule(getattr(package, name))]


def _table(package: object) -> str:
    rows = [f"| `{name}` | {_first(getattr(package, name))} |" for name in sorted(_public(package))]
    return "| name | what it is |\n|---|---|\n" + "\n".join(rows) + "\n"


def _first(thing: object) -> str:
    """First paragraph of a docstring, on one line, safe in a table."""
    text = inspect.getdoc(thing) if callable(thing) or inspect.ismodule(thing) else ""
    return " ".join((text or "").split("\n\n")[0].split()).replace("|", "\\|")


def _entry(package: str, name: str, thing: object) -> str:
    head = f"### stnuclei.{package}.{name}\n"
    if not callable(thing):
        return f"{head}\nA value of type `{type(thing).__name__}`.\n"
    return f"{head}\n```python\n{name}{_signature(thing)}\n```\n\n{_body(thing)}\n"


def _signature(thing: object) -> str:
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"
    # Addresses of objects differ between runs; annotations name their modules at length.
    return re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"(: |-> )'([^']*)'", r"\1\2", text))


def _body(thing: object) -> str:
    """The docstring with its numpy sections as bold words."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r"^(\w[\w ]*)\n-{3,}$", r"**\1**", text, flags=re.M)
    # Indented descriptions of parameters become lists.
    lines = [f"- `{line}`" if _is_parameter(text, line) else line for line in text.splitlines()]
    return "\n".join(lines)


def _is_parameter(text: str, line: str) -> bool:
    if not re.fullmatch(r"\*{0,2}[a-z_]\w*(, \*{0,2}[a-z_]\w*)*", line):
        return False
    return f"\n{line}\n    " in text


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: {len(page().splitlines())} lines", file=sys.stderr)
