"""The report of a run: pages of tables and pictures, in one file and as a zip."""

from stnuclei.reporting.run import Run
from stnuclei.reporting.write import write_report

__all__ = ["Run", "write_report"]
