"""Print where a finished run's results are, and its tables: ``python show_results.py RESULTS``."""

from __future__ import annotations

import sys
from pathlib import Path


def main(results: Path) -> None:
    """Print the tables and the places of report, tables and checkpoints."""
    for table in sorted((results / "tables").glob("table?.md")):  # the rest stands in the report
        print(table.read_text().rstrip(), end="\n\n")
    print("Where things are:")
    for checkpoint in sorted((results / "models").glob("*/checkpoint.pt")):
        print(f"  checkpoint  {checkpoint}")
    for folder in sorted((results / "slides").glob("*/*/qupath")):
        print(f"  for QuPath  {folder}")
    print(f"  tables      {results / 'tables'}")
    print(f"  figures     {results / 'figures'}")
    print(f"  report      {results / 'report.html'}  (open it in a browser)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
