# Provenance: inputs, versions and content hashes, by which two runs are compared (stnuclei compare).
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
        "hashing inputs and content of {wildcards.set}"
    script:
        "../scripts/describe_set.py"


rule write_provenance:
    input:
        sets=expand("<results>/samples/{set}/provenance.json", set=SETS),
        checkpoints=expand("<results>/models/{model}/checkpoint.pt", model=MODELS),
    output:
        provenance=reported(
            "provenance.json", "provenance", "Provenance", what="code, versions, settings, inputs, content"
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
        "writing the provenance of the run"
    script:
        "../scripts/write_provenance.py"
