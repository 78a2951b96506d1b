# Labels: clusters, label sets by method, scores against annotations.
rule cluster_cells:
    input:
        store=rules.read_sample.output.store,
    output:
        clusters="<results>/samples/{sample}/clusters.parquet",
        ranked_genes="<results>/samples/{sample}/ranked_genes.parquet",
    log:
        "<logs>/cluster_cells/{sample}.log",
    benchmark:
        "<benchmarks>/cluster_cells/{sample}.tsv"
    # Before trainings that are ready: others wait for these labels, and a training would hold a core all the while.
    priority: 10
    conda:
        "../../envs/labels.yaml"
    threads: 4
    resources:
        mem_mb=memory(3000, 15, "tables"),
        runtime=runtime(120),
    params:
        settings=config["clustering"],
        seed=config["seed"],
    message:
        "clustering the cells of {wildcards.sample}"
    script:
        "../scripts/cluster_cells.py"


rule label_cells:
    input:
        store=rules.read_sample.output.store,
        clusters=rules.cluster_cells.output.clusters,
        ranked_genes=rules.cluster_cells.output.ranked_genes,
        own=own_labels_input,
        regions=regions_input("labels"),
    output:
        labels="<results>/samples/{sample}/labels/{method}.parquet",
        evidence=sample_result(
            "labels/{method}.evidence.tsv", "evidence", "Labels", method="{method}", what="evidence by cluster"
        ),
        explorer="<results>/samples/{sample}/labels/{method}.xenium_explorer.csv",
        figure=sample_result("labels/{method}.png", "labels", "Labels", method="{method}", what="map and markers"),
    log:
        "<logs>/label_cells/{sample}.{method}.log",
    benchmark:
        "<benchmarks>/label_cells/{sample}.{method}.tsv"
    priority: 10
    conda:
        "../../envs/labels.yaml"
    threads: 2
    resources:
        mem_mb=memory(4000, 15, "tables"),
        runtime=runtime(120),
    params:
        sample=sample_row("sample", "tissue", "disease"),
        taxonomy=config["taxonomy"],
        settings=label_settings,
        seed=config["seed"],
        other_names=config["regions"]["other_names"],
    message:
        "labelling the cells of {wildcards.sample} by {wildcards.method}"
    script:
        "../scripts/label_cells.py"


rule compare_labels:
    input:
        store=rules.read_sample.output.store,
        labels=expand("<results>/samples/{{sample}}/labels/{method}.parquet", method=METHODS),
    output:
        figure=sample_result("labels.png", "compare_labels", "Labels", method="all", what="side by side"),
        agreement="<results>/samples/{sample}/label_agreement.tsv",
    log:
        "<logs>/compare_labels/{sample}.log",
    benchmark:
        "<benchmarks>/compare_labels/{sample}.tsv"
    conda:
        "../../envs/labels.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000, 15, "tables"),
        runtime=runtime(30),
    params:
        methods=METHODS,
        taxonomy=config["taxonomy"],
    message:
        "comparing the labels of {wildcards.sample}"
    script:
        "../scripts/compare_labels.py"


rule score_labels:
    input:
        labels=expand("<results>/samples/{{sample}}/labels/{method}.parquet", method=METHODS),
        annotation=annotation_input,
    output:
        table=sample_result(
            "label_scores.tsv", "label_scores", "Labels", method="all", what="scores against the annotation"
        ),
        figure=sample_result("label_scores.png", "label_scores", "Labels", method="all", what="confusion matrices"),
    log:
        "<logs>/score_labels/{sample}.log",
    benchmark:
        "<benchmarks>/score_labels/{sample}.tsv"
    conda:
        "../../envs/labels.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000, 2),
        runtime=runtime(20),
    params:
        sample=sample_row("sample", "annotation", "annotation_map"),
        methods=METHODS,
        taxonomy=config["taxonomy"],
    message:
        "scoring the labels of {wildcards.sample} against its annotation"
    script:
        "../scripts/score_labels.py"


rule publish_sample:
    input:
        store=rules.read_sample.output.store,
        labels=expand("<results>/samples/{{sample}}/labels/{method}.parquet", method=METHODS),
    output:
        store=directory("<results>/published/{sample}.zarr"),
    log:
        "<logs>/publish_sample/{sample}.log",
    benchmark:
        "<benchmarks>/publish_sample/{sample}.tsv"
    conda:
        "../../envs/labels.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000, 1),
        runtime=runtime(60),
    params:
        methods=METHODS,
        taxonomy=config["taxonomy"],
    message:
        "publishing {wildcards.sample} with its labels"
    script:
        "../scripts/publish_sample.py"
