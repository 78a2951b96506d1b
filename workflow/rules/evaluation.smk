# Predictions on held-out slides, their scores, and the paper's tables and figures.
rule predict_patches:
    input:
        checkpoint="<results>/models/{model}/checkpoint.pt",
        patches="<results>/samples/{set}/patches.zarr",
    output:
        predictions=directory("<results>/models/{model}/predictions/{set}.zarr"),
    log:
        "<logs>/predict_patches/{model}.{set}.log",
    benchmark:
        "<benchmarks>/predict_patches/{model}.{set}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 8
    resources:
        mem_mb=memory(6000),
        runtime=runtime(240),
        gpu=config["resources"]["gpu"],
    params:
        settings=config["prediction"],
    message:
        "predicting the nuclei of {wildcards.set} by model {wildcards.model}"
    script:
        "../scripts/predict_patches.py"


rule score_segmentation:
    input:
        patches="<results>/samples/{set}/patches.zarr",
        predictions=rules.predict_patches.output.predictions,
        labels=true_labels,
    output:
        scores="<results>/models/{model}/scores/{set}.segmentation.parquet",
        atlas=model_result("scores/{set}.errors.png", "errors", "worst patches of {set}"),
    log:
        "<logs>/score_segmentation/{model}.{set}.log",
    benchmark:
        "<benchmarks>/score_segmentation/{model}.{set}.tsv"
    wildcard_constraints:
        model="|".join(map(re.escape, SCORED)),
    conda:
        "../../envs/cellvit.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=runtime(60),
    params:
        radius_um=config["evaluation"]["radius_um"],
        taxonomy=config["taxonomy"],
    message:
        "scoring the segmentation of {wildcards.set} by model {wildcards.model}"
    script:
        "../scripts/score_segmentation.py"


rule map_annotation:
    input:
        store="<results>/samples/{sample}/sample.zarr",
        annotation=annotation_input,
    output:
        "<results>/samples/{sample}/annotation.parquet",
    log:
        "<logs>/map_annotation/{sample}.log",
    benchmark:
        "<benchmarks>/map_annotation/{sample}.tsv"
    conda:
        "../../envs/labels.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    params:
        sample=sample_row("sample", "annotation", "annotation_map"),
        taxonomy=config["taxonomy"],
    message:
        "mapping the annotation of {wildcards.sample} to classes"
    script:
        "../scripts/map_annotation.py"


rule score_classification:
    input:
        patches="<results>/samples/{set}/patches.zarr",
        predictions=rules.predict_patches.output.predictions,
        labels=true_labels,
    output:
        scores="<results>/models/{model}/scores/{set}.classification.parquet",
        figure=model_result("scores/{set}.confusion.png", "confusion", "confusion on {set}"),
    log:
        "<logs>/score_classification/{model}.{set}.log",
    benchmark:
        "<benchmarks>/score_classification/{model}.{set}.tsv"
    wildcard_constraints:
        model="|".join(map(re.escape, SCORED)),
    conda:
        "../../envs/cellvit.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=runtime(60),
    params:
        taxonomy=config["taxonomy"],
        radius_um=config["evaluation"]["radius_um"],
    message:
        "scoring the classes of {wildcards.set} by model {wildcards.model}"
    script:
        "../scripts/score_classification.py"


rule write_table1:
    input:
        patches=expand("<results>/samples/{set}/patches.zarr", set=SETS),
    output:
        tsv=reported_table("table1"),
        md="<results>/tables/table1.md",
    log:
        "<logs>/write_table1.log",
    benchmark:
        "<benchmarks>/write_table1.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        sets=SETS,
        splits=dict(zip(SAMPLES["sample"], SAMPLES["split"])),
        warnings=WARNINGS,
    message:
        "writing table 1: the data"
    script:
        "../scripts/write_table1.py"


rule write_table2:
    input:
        scores=score_files(SEGMENTED, "segmentation"),
        costs=cost_files(SEGMENTED),
    output:
        tsv=reported_table("table2"),
        md="<results>/tables/table2.md",
    log:
        "<logs>/write_table2.log",
    benchmark:
        "<benchmarks>/write_table2.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(30),
    params:
        pairs=SEGMENTED,
        classifiers=classifiers_of(SEGMENTED),
        bootstrap=config["evaluation"]["bootstrap"],
        rows=published_rows(),
        runs=RUNS,
        warnings=WARNINGS,
        seed=config["seed"],
    message:
        "writing table 2: segmentation"
    script:
        "../scripts/write_table2.py"


rule write_table3:
    input:
        scores=score_files(CLASSIFIED, "classification"),
        costs=cost_files(CLASSIFIED),
    output:
        tsv=reported_table("table3"),
        md="<results>/tables/table3.md",
    log:
        "<logs>/write_table3.log",
    benchmark:
        "<benchmarks>/write_table3.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(30),
    params:
        pairs=CLASSIFIED,
        classifiers=classifiers_of(CLASSIFIED),
        bootstrap=config["evaluation"]["bootstrap"],
        other=config["evaluation"]["dead"],
        rows=published_rows(),
        runs=RUNS,
        warnings=WARNINGS,
        taxonomy=config["taxonomy"],
        seed=config["seed"],
    message:
        "writing table 3: classification"
    script:
        "../scripts/write_table3.py"


rule write_pannuke_tables:
    input:
        scores=score_files(TESTED, "segmentation"),
    output:
        tsv=reported_table("pannuke"),
        md="<results>/tables/pannuke.md",
        tissues_tsv=reported_table("pannuke_tissues"),
        tissues_md="<results>/tables/pannuke_tissues.md",
    log:
        "<logs>/write_pannuke_tables.log",
    benchmark:
        "<benchmarks>/write_pannuke_tables.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    params:
        pairs=TESTED,
        rows=published_networks(),
        runs=RUNS,
        warnings=WARNINGS,
    message:
        "writing the PanNuke tables: held-out folds as in the CellViT paper"
    script:
        "../scripts/write_pannuke_tables.py"


rule write_breakdowns:
    input:
        segmentation=score_files(SEGMENTED + CLASSIFIED + TESTED, "segmentation"),
        classes=score_files(CLASSIFIED + TESTED, "classification"),
    output:
        **{f"{name}_tsv": reported_table(name) for name in breakdown_names()},
        **{f"{name}_md": f"<results>/tables/{name}.md" for name in breakdown_names()},
        **{name: reported_figure(name) for name in figure_names() if not name.startswith("figure")},
    log:
        "<logs>/write_breakdowns.log",
    benchmark:
        "<benchmarks>/write_breakdowns.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(30),
    params:
        segmentation=SEGMENTED + CLASSIFIED + TESTED,
        classes=CLASSIFIED + TESTED,
        bootstrap=config["evaluation"]["bootstrap"],
        runs=RUNS,
        taxonomy=config["taxonomy"],
        seed=config["seed"],
        warnings=WARNINGS,
    message:
        "writing scores by organ, class and size, and calibration"
    script:
        "../scripts/write_breakdowns.py"


rule draw_figure2:
    input:
        patches=expand("<results>/samples/{sample}/patches.zarr", sample=CLS_EVAL[:1]),
        labels=expand("<results>/samples/{sample}/labels/{method}.parquet", sample=CLS_EVAL[:1], method=METHODS),
        annotation=expand("<results>/samples/{sample}/annotation.parquet", sample=CLS_EVAL[:1]),
    output:
        figure=reported_figure("figure2"),
    log:
        "<logs>/draw_figure2.log",
    benchmark:
        "<benchmarks>/draw_figure2.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    params:
        methods=METHODS,
        taxonomy=config["taxonomy"],
        seed=config["seed"],
    message:
        "drawing figure 2: labels by method on the same patches"
    script:
        "../scripts/draw_figure2.py"


rule draw_figure3:
    input:
        patches=expand("<results>/samples/{sample}/patches.zarr", sample=FIGURE3_SAMPLE),
        labels=figure3_truth(),
        predictions=expand(
            "<results>/models/{model}/predictions/{sample}.zarr", model=FIGURE3_MODELS, sample=FIGURE3_SAMPLE
        ),
        scores=score_files(FIGURE3_SCORED, "classification"),
    output:
        figure=reported_figure("figure3"),
    log:
        "<logs>/draw_figure3.log",
    benchmark:
        "<benchmarks>/draw_figure3.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    params:
        titles=[training_title(model) for model in FIGURE3_MODELS],
        truth="annotation" if CLS_EVAL else f"expression:\n{METHODS[0]}",
        taxonomy=config["taxonomy"],
        seed=config["seed"],
    message:
        "drawing figure 3: predictions and ground truth"
    script:
        "../scripts/draw_figure3.py"
