# Patches of slides, and PanNuke's folds in the same format.
rule cut_patches:
    input:
        store=rules.read_sample.output.store,
        tissue=rules.find_tissue.output.tissue,
        alignment=rules.check_alignment.output.checked,
    output:
        patches=directory("<results>/samples/{sample}/patches.zarr"),
        figure=report(
            "<results>/samples/{sample}/patches.png",
            caption="../report/patches.rst",
            category="Patches",
            subcategory="{sample}",
            labels={"sample": "{sample}", "figure": "contact sheet"},
        ),
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
    message:
        "cutting patches from {wildcards.sample}"
    script:
        "../scripts/cut_patches.py"


rule import_pannuke:
    input:
        pannuke_input,
    output:
        patches=directory("<results>/samples/pannuke_{fold}/patches.zarr"),
        labels="<results>/samples/pannuke_{fold}/labels/manual.parquet",
        figure=report(
            "<results>/samples/pannuke_{fold}/patches.png",
            caption="../report/patches.rst",
            category="Patches",
            subcategory="pannuke_{fold}",
            labels={"sample": "pannuke_{fold}", "figure": "contact sheet"},
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
