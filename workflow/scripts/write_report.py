"""Write the report of the run: one page that holds everything, and a zip of pages."""

from pathlib import Path

from stnuclei.joblog import job
from stnuclei.reporting import ReportRun, write_report

params = snakemake.params
with job(snakemake.log[0], "report"):
    run = ReportRun(
        results=Path(params.results),
        benchmarks=Path(params.results) / "benchmarks",
        config=params.config,
        samples=params.samples,
        methods=params.methods,
        groups=params.runs,
        warnings=params.warnings,
    )
    print(write_report(run, snakemake.output.html, snakemake.output.archive, params.max_mb))
