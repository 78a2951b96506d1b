# The single-patch expression baseline: patch x gene tables, networks, scores, null models.
rule patch_expression:
    input:
        store="<results>/samples/{sample}/sample.zarr",
        patches="<results>/samples/{sample}/patches.zarr",
    output:
        expression="<results>/samples/{sample}/expression.h5ad",
    log:
        "<logs>/patch_expression/{sample}.log",
    benchmark:
        "<benchmarks>/patch_expression/{sample}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000, 15, "tables"),
        runtime=runtime(60),
    params:
        transcripts=transcripts_of,
        settings={key: config["expression"][key] for key in ("target_sum", "controls", "min_counts")},
        min_qv=config["expression"]["min_qv"],
        donor=lambda wildcards: SLIDES.loc[wildcards.sample, "donor"],
        seed=config["seed"],
    message:
        "counting the genes of {wildcards.sample} by patch"
    script:
        "../scripts/patch_expression.py"


rule cut_spots:
    input:
        spots_input,
    output:
        patches=directory("<results>/spots/{spots}/patches.zarr"),
        expression="<results>/spots/{spots}/expression.h5ad",
    log:
        "<logs>/cut_spots/{spots}.log",
    benchmark:
        "<benchmarks>/cut_spots/{spots}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60),
    params:
        entry=lambda wildcards: SPOTS[wildcards.spots],
        patches=config["expression"]["spot_patches"],
        settings={key: config["expression"][key] for key in ("target_sum", "controls", "min_counts")},
        donor=lambda wildcards: SLIDES.loc[wildcards.spots, "donor"],
        seed=config["seed"],
    message:
        "cutting a patch around each spot of {wildcards.spots}"
    script:
        "../scripts/cut_spots.py"


rule measure_spatial_genes:
    input:
        expression="<results>/{kind}/{slide}/expression.h5ad",
    output:
        table="<results>/{kind}/{slide}/spatial_genes.tsv",
    log:
        "<logs>/measure_spatial_genes/{kind}.{slide}.log",
    benchmark:
        "<benchmarks>/measure_spatial_genes/{kind}.{slide}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000, 20),
        runtime=runtime(30),
    params:
        graph=config["expression"]["graph"],
        min_counts=config["expression"]["min_counts"],
    message:
        "measuring Moran's I of the genes of {wildcards.slide}"
    script:
        "../scripts/measure_spatial_genes.py"


rule train_expression:
    input:
        patches=baseline_files("samples", "patches.zarr"),
        expression=baseline_files("samples", "expression.h5ad"),
        weights=baseline_weights,
    output:
        checkpoint="<results>/expression/{baseline}/{run}/checkpoint.pt",
        split="<results>/expression/{baseline}/{run}/split.tsv",
        history="<results>/expression/{baseline}/{run}/history.csv",
        curves=baseline_result("{run}/curves.png", "expression_curves", "training curves, {run}"),
    log:
        "<logs>/train_expression/{baseline}.{run}.log",
    benchmark:
        "<benchmarks>/train_expression/{baseline}.{run}.tsv"
    retries: 2
    conda:
        "../../envs/cellvit.yaml"
    threads: lambda wildcards: BASELINES[wildcards.baseline].training.get("threads") or 8
    resources:
        mem_mb=memory(6000),
        runtime=runtime(480),
        gpu=config["resources"]["gpu"],
    params:
        settings=baseline_settings,
        protocol=lambda wildcards: BASELINES[wildcards.baseline].protocol,
        held_out=lambda wildcards: list(BASELINES[wildcards.baseline].held_out),
        samples=lambda wildcards: list(BASELINES[wildcards.baseline].samples),
        # Outside the outputs, which Snakemake deletes after a failure: a retry resumes from here.
        state=lambda wildcards: f"{RESULTS}/expression/{wildcards.baseline}/{wildcards.run}/training",
    message:
        "training the expression baseline {wildcards.baseline} ({wildcards.run})"
    script:
        "../scripts/train_expression.py"


rule predict_expression:
    input:
        checkpoint="<results>/expression/{baseline}/{run}/checkpoint.pt",
        split="<results>/expression/{baseline}/{run}/split.tsv",
        patches=baseline_files("samples", "patches.zarr"),
        expression=baseline_files("samples", "expression.h5ad"),
        cross_patches=baseline_files("cross_tissue", "patches.zarr"),
        cross_expression=baseline_files("cross_tissue", "expression.h5ad"),
    output:
        predictions="<results>/expression/{baseline}/{run}/predictions.h5ad",
    log:
        "<logs>/predict_expression/{baseline}.{run}.log",
    benchmark:
        "<benchmarks>/predict_expression/{baseline}.{run}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: lambda wildcards: BASELINES[wildcards.baseline].training.get("threads") or 8
    resources:
        mem_mb=memory(6000),
        runtime=runtime(120),
        gpu=config["resources"]["gpu"],
    message:
        "predicting expression by {wildcards.baseline} ({wildcards.run})"
    script:
        "../scripts/predict_expression.py"


rule score_expression:
    input:
        result="<results>/expression/{baseline}/result/predictions.h5ad",
        shuffled=expand("<results>/expression/{{baseline}}/{run}/predictions.h5ad", run=NULLS),
        spatial=lambda wildcards: slide_files(all_slides(wildcards.baseline), "spatial_genes.tsv"),
    output:
        genes="<results>/expression/{baseline}/genes.tsv",
        summary="<results>/expression/{baseline}/summary.tsv",
        drivers="<results>/expression/{baseline}/drivers.tsv",
        figure=baseline_result("predictability.png", "expression_predictability", "predictability"),
        maps=baseline_result("maps.png", "expression_maps", "maps"),
    log:
        "<logs>/score_expression/{baseline}.log",
    benchmark:
        "<benchmarks>/score_expression/{baseline}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(30),
    params:
        slides=lambda wildcards: all_slides(wildcards.baseline),
        protocol=lambda wildcards: BASELINES[wildcards.baseline].protocol,
        tissues=lambda wildcards: list(BASELINES[wildcards.baseline].tissues),
        taxonomy=config["taxonomy"],
        scores=config["expression"]["scores"],
        seed=config["seed"],
    message:
        "scoring the expression baseline {wildcards.baseline}"
    script:
        "../scripts/score_expression.py"


rule write_expression_table:
    input:
        summary=expand("<results>/expression/{baseline}/summary.tsv", baseline=BASELINES),
        drivers=expand("<results>/expression/{baseline}/drivers.tsv", baseline=BASELINES),
    output:
        tsv=reported("tables/expression.tsv", "expression_table", "Expression", model="all", what="table"),
        md="<results>/tables/expression.md",
    log:
        "<logs>/write_expression_table.log",
    benchmark:
        "<benchmarks>/write_expression_table.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        protocols={name: baseline.protocol for name, baseline in BASELINES.items()},
    message:
        "writing the table of the expression baselines"
    script:
        "../scripts/write_expression_table.py"
