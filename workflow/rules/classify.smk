# Cell classifiers: tokens of nuclei, heads trained on them, their predictions on scored patches.
rule extract_tokens:
    input:
        checkpoint=lambda wildcards: base_checkpoint(wildcards.base),
        patches="<results>/samples/{set}/patches.zarr",
    output:
        tokens=directory("<results>/models/{base}/tokens/{set}.{nuclei}.{tokens}.zarr"),
    log:
        "<logs>/extract_tokens/{base}.{set}.{nuclei}.{tokens}.log",
    benchmark:
        "<benchmarks>/extract_tokens/{base}.{set}.{nuclei}.{tokens}.tsv"
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
        "taking the tokens of the nuclei of {wildcards.set} from model {wildcards.base}"
    script:
        "../scripts/extract_tokens.py"


# Labels in the taxonomy of a classifier, where it is not the configuration's.
use rule label_cells as label_cells_finely with:
    output:
        labels="<results>/samples/{sample}/labels/{taxonomy}/{method}.parquet",
        evidence="<results>/samples/{sample}/labels/{taxonomy}/{method}.evidence.tsv",
        explorer="<results>/samples/{sample}/labels/{taxonomy}/{method}.xenium_explorer.csv",
        figure="<results>/samples/{sample}/labels/{taxonomy}/{method}.png",
    log:
        "<logs>/label_cells_finely/{sample}.{taxonomy}.{method}.log",
    benchmark:
        "<benchmarks>/label_cells_finely/{sample}.{taxonomy}.{method}.tsv"
    params:
        sample=sample_row("sample", "tissue", "disease"),
        taxonomy=lambda wildcards: TAXONOMIES[wildcards.taxonomy],
        settings=label_settings,
        seed=config["seed"],
    message:
        "labelling the cells of {wildcards.sample} by {wildcards.method} in taxonomy {wildcards.taxonomy}"


rule train_classifier:
    input:
        tokens=token_stores("train"),
        labels=token_labels("train"),
        validation_tokens=token_stores("validation"),
        validation_labels=token_labels("validation"),
    output:
        classifier="<results>/models/{classifier}/classifier.pt",
        history="<results>/models/{classifier}/history.csv",
        cost="<results>/models/{classifier}/cost.tsv",
        curves=model_result("curves.png", "classifier", "training curves", "classifier"),
        confusion=model_result("confusion.png", "classifier", "confusion on validation nuclei", "classifier"),
    log:
        "<logs>/train_classifier/{classifier}.log",
    benchmark:
        "<benchmarks>/train_classifier/{classifier}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    # Sums of several threads are added in another order: the same head needs the same number.
    threads: 2
    resources:
        # Vectors are held in memory once as float16 and once more where some of them are held out.
        mem_mb=memory(2000, 5),
        runtime=runtime(120),
    params:
        sources=lambda wildcards: learned_from(TAUGHT[wildcards.classifier]),
        model=lambda wildcards: config["classifiers"][wildcards.classifier]["model"],
        taxonomy=lambda wildcards: settings.classifier_taxonomy(config["classifiers"][wildcards.classifier], config),
        settings=head_settings,
    message:
        "training classifier {wildcards.classifier}"
    script:
        "../scripts/train_classifier.py"


use rule predict_patches as classify_patches with:
    input:
        checkpoint=classifier_model,
        classifier=rules.train_classifier.output.classifier,
        patches="<results>/samples/{set}/patches.zarr",
    output:
        predictions=directory("<results>/models/{classifier}/predictions/{set}.zarr"),
    log:
        "<logs>/classify_patches/{classifier}.{set}.log",
    benchmark:
        "<benchmarks>/classify_patches/{classifier}.{set}.tsv"
    params:
        settings=config["prediction"],
        taxonomy=config["taxonomy"],
    message:
        "predicting the nuclei of {wildcards.set} by classifier {wildcards.classifier}"


rule write_classifier_table:
    input:
        classifiers=expand("<results>/models/{classifier}/classifier.pt", classifier=CLASSIFIERS),
    output:
        tsv=reported_table("classifiers"),
        md="<results>/tables/classifiers.md",
    log:
        "<logs>/write_classifier_table.log",
    benchmark:
        "<benchmarks>/write_classifier_table.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(10),
    params:
        names=CLASSIFIERS,
    message:
        "writing the table of classifiers: what they learned from and what they cost"
    script:
        "../scripts/write_classifier_table.py"


rule write_classifier_card:
    input:
        classifier=rules.train_classifier.output.classifier,
        tables=lambda wildcards: score_tables(wildcards.classifier),
    output:
        card=model_result("README.md", "model_card", "model card", "classifier"),
    log:
        "<logs>/write_classifier_card/{classifier}.log",
    benchmark:
        "<benchmarks>/write_classifier_card/{classifier}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    message:
        "writing the card of classifier {wildcards.classifier}"
    script:
        "../scripts/write_classifier_card.py"
