# What the results were made from and what they hold: two runs are compared by it (stnuclei compare).
rule describe_set:
    input:
        unpack(described_files),
    output:
        provenance="<results>/samples/{set}/provenance.json",
    log:
        "<logs>/describe_set/{set}.log",
    benchmark:
        "<benchmarks>/describe_set/{set}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(60),
    message:
        "describing what {wildcards.set} was made from and holds"
    script:
        "../scripts/describe_set.py"


rule write_provenance:
    input:
        sets=expand("<results>/samples/{set}/provenance.json", set=SETS),
        checkpoints=expand("<results>/models/{model}/checkpoint.pt", model=MODELS),
    output:
        provenance=report(
            "<results>/provenance.json",
            caption="../report/provenance.rst",
            category="Provenance",
            labels={"what": "code, versions, settings, inputs, content"},
        ),
    log:
        "<logs>/write_provenance.log",
    benchmark:
        "<benchmarks>/write_provenance.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(20),
    params:
        config=config,
        samples=SAMPLES.to_dict("index"),
        models=MODELS,
    message:
        "writing what the run was made from"
    script:
        "../scripts/write_provenance.py"
