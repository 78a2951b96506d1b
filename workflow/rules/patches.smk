# Patches of slides, and PanNuke's folds in the same format.
rule cut_patches:
    input:
        store=rules.read_sample.output.store,
        tissue=rules.find_tissue.output.tissue,
        alignment=rules.check_alignment.output.checked,
        regions=regions_input("patches"),
    output:
        patches=directory("<results>/samples/{sample}/patches.zarr"),
        figure=sample_result("patches.png", "patches", "Patches", figure="contact sheet"),
    log:
        "<logs>/cut_patches/{sample}.log",
    benchmark:
        "<benchmarks>/cut_patches/{sample}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 2
    resources:
        mem_mb=memory(4000),
        runtime=runtime(120),
    params:
        # Evaluation keeps patches without nuclei: false positives there count.
        settings=lambda wildcards: {
            **config["patches"],
            **({} if SAMPLES.loc[wildcards.sample, "split"] in ("train", "val") else {"min_nuclei": 0}),
        },
        seed=config["seed"],
        other_names=config["regions"]["other_names"],
    message:
        "cutting patches from {wildcards.sample}"
    script:
        "../scripts/cut_patches.py"


rule draw_regions:
    input:
        store=rules.read_sample.output.store,
        regions=regions_input(),
    output:
        figure=sample_result("regions.png", "regions", "Slides", figure="regions drawn by hand"),
    log:
        "<logs>/draw_regions/{sample}.log",
    benchmark:
        "<benchmarks>/draw_regions/{sample}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    params:
        other_names=config["regions"]["other_names"],
    message:
        "drawing the regions of {wildcards.sample}"
    script:
        "../scripts/draw_regions.py"


rule import_pannuke:
    input:
        pannuke_input,
    output:
        patches=directory("<results>/samples/pannuke_{fold}/patches.zarr"),
        labels="<results>/samples/pannuke_{fold}/labels/manual.parquet",
        figure=reported(
            "samples/pannuke_{fold}/patches.png", "patches", "Patches", sample="pannuke_{fold}", figure="contact sheet"
        ),
    log:
        "<logs>/import_pannuke/{fold}.log",
    benchmark:
        "<benchmarks>/import_pannuke/{fold}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=runtime(60),
    params:
        folder=config["pannuke"]["path"],
        fold=lambda wildcards: settings.fold_of(f"pannuke_{wildcards.fold}"),
        tissues=lambda wildcards: list(PANNUKE[f"pannuke_{wildcards.fold}"].tissues),
        taxonomy=config["taxonomy"],
        seed=config["seed"],
    message:
        "importing PanNuke fold {wildcards.fold}"
    script:
        "../scripts/import_pannuke.py"


# The sheet of cut_patches has one colour: a changed label must not cut patches anew.
rule draw_labelled_patches:
    input:
        patches="<results>/samples/{sample}/patches.zarr",
        labels=expand("<results>/samples/{{sample}}/labels/{method}.parquet", method=METHODS[:1]),
    output:
        figure=sample_result("patches_by_class.png", "patches", "Patches", figure="contact sheet by class"),
    log:
        "<logs>/draw_labelled_patches/{sample}.log",
    benchmark:
        "<benchmarks>/draw_labelled_patches/{sample}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=runtime(15),
    params:
        taxonomy=config["taxonomy"],
        seed=config["seed"],
    message:
        "drawing labelled patches of {wildcards.sample}"
    script:
        "../scripts/draw_labelled_patches.py"
