# The report: everything a run came to, in one file and as a zip of pages. Two systems remain, on purpose: this one is read
# by people who never saw Snakemake (pages by sample, model and slide, without any tool), and is written by every run;
# `snakemake --report`, which the outputs' report() marks serve, adds what only Snakemake knows (code, log and runtime of
# each job, the graph) and is what the workflow catalogue and reviewers of a workflow ask for. The marks cost one line each.
rule write_report:
    input:
        report_inputs(),
    output:
        html="<results>/report.html",
        archive="<results>/report.zip",
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=runtime(30),
    params:
        results=subpath(output.html, parent=True),
        config=config,
        samples=SAMPLES.to_dict("index"),
        methods=METHODS,
        runs=RUNS,
        warnings=WARNINGS,
        max_mb=config["report"]["max_mb"],
    message:
        "writing the report"
    script:
        "../scripts/write_report.py"
