# The report of all results, as one file and as a zip of pages; Snakemake's own --report is separate.
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
