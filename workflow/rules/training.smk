# Training of CellViT on patches and labels of many slides.
rule train_model:
    input:
        patches=source_patches("train"),
        labels=source_labels("train"),
        validation_patches=source_patches("validation"),
        validation_labels=source_labels("validation"),
        weights=fetched_weights,
        teacher=trained_teacher,
    output:
        checkpoint="<results>/models/{model}/checkpoint.pt",
        history=model_result("history.csv", "history", "history"),
        curves=model_result("curves.png", "curves", "training curves"),
    log:
        "<logs>/train_model/{model}.log",
    benchmark:
        "<benchmarks>/train_model/{model}.tsv"
    retries: 2
    conda:
        "../../envs/cellvit.yaml"
    threads: threads_of
    resources:
        mem_mb=memory(8000),
        runtime=runtime(1440),
        gpu=gpus_of,
    params:
        sources=lambda wildcards: learned_from(SOURCES[wildcards.model]),
        settings=training_settings,
        taxonomy=config["taxonomy"],
        # Outside the outputs, which Snakemake deletes after a failure: a retry resumes from here.
        state=lambda wildcards: f"{RESULTS}/models/{wildcards.model}/training",
    message:
        "training model {wildcards.model}"
    script:
        "../scripts/train_model.py"


rule draw_augmentation:
    input:
        patches=lambda wildcards: [f"{RESULTS}/samples/{SOURCES[MODELS[0]]['train'][0].name}/patches.zarr"],
    output:
        figure=reported("figures/augmentation.png", "augmentation", "Models", model="all", what="augmentation"),
    log:
        "<logs>/draw_augmentation.log",
    benchmark:
        "<benchmarks>/draw_augmentation.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(10),
    message:
        "drawing the transforms of the augmentation"
    script:
        "../scripts/draw_augmentation.py"
