# Segmentation of H&E slides by trained models: nuclei, exports, pictures, comparison with expression.
rule segment_slide:
    input:
        checkpoint=checkpoint_of,
        classifier=classifier_of,
        slide=wsi_input,
    output:
        nuclei="<results>/slides/{wsi}/{segmenter}/nuclei.parquet",
        tissue="<results>/slides/{wsi}/{segmenter}/tissue.tif",
        figure=slide_result("tissue.png", "segmented_tissue", "tissue"),
    log:
        "<logs>/segment_slide/{wsi}.{segmenter}.log",
    benchmark:
        "<benchmarks>/segment_slide/{wsi}.{segmenter}.tsv"
    retries: 2
    conda:
        "../../envs/cellvit.yaml"
    threads: 8
    resources:
        mem_mb=memory(8000),
        runtime=runtime(720),
        gpu=config["resources"]["gpu"],
    params:
        path=wsi_path,
        um_per_px=lambda wildcards: WSIS.loc[wildcards.wsi, "um_per_px"],
        settings={name: value for name, value in config["segmentation"].items() if name not in EXPORTED},
        # Outside the outputs, which Snakemake deletes after a failure: a retry resumes from here.
        state=lambda wildcards: f"{RESULTS}/slides/{wildcards.wsi}/{wildcards.segmenter}/segmentation",
    message:
        "segmenting slide {wildcards.wsi} by model {wildcards.segmenter}"
    script:
        "../scripts/segment_slide.py"


rule export_slide:
    input:
        nuclei=rules.segment_slide.output.nuclei,
        tissue=rules.segment_slide.output.tissue,
        slide=wsi_input,
    output:
        qupath=directory("<results>/slides/{wsi}/{segmenter}/qupath"),
        summary=slide_result("summary.tsv", "slide_summary", "nuclei by class"),
        overview=slide_result("overview.png", "slide_overview", "overview"),
        density=slide_result("density.png", "slide_density", "densities"),
        zooms=slide_result("zooms.png", "slide_zooms", "zooms"),
    log:
        "<logs>/export_slide/{wsi}.{segmenter}.log",
    benchmark:
        "<benchmarks>/export_slide/{wsi}.{segmenter}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=runtime(60),
    params:
        path=wsi_path,
        settings={name: config["segmentation"][name] for name in ("geojson", "max_nuclei_per_file")},
    message:
        "exporting the nuclei of {wildcards.wsi} by model {wildcards.segmenter}"
    script:
        "../scripts/export_slide.py"


rule export_spatialdata:
    input:
        nuclei=rules.segment_slide.output.nuclei,
        slide=wsi_input,
    output:
        store=directory("<results>/slides/{wsi}/{segmenter}/slide.zarr"),
    log:
        "<logs>/export_spatialdata/{wsi}.{segmenter}.log",
    benchmark:
        "<benchmarks>/export_spatialdata/{wsi}.{segmenter}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 2
    resources:
        mem_mb=memory(3000, 8),
        runtime=runtime(120),
    params:
        path=wsi_path,
        copy_image=config["segmentation"]["copy_image"],
    message:
        "writing the SpatialData store of {wildcards.wsi} by model {wildcards.segmenter}"
    script:
        "../scripts/export_spatialdata.py"


rule compare_slide:
    input:
        nuclei=rules.segment_slide.output.nuclei,
        store=compared_sample("sample.zarr"),
        labels=compared_sample(f"labels/{config['segmentation']['labels']}.parquet"),
    output:
        confusion=slide_result("agreement.tsv", "agreement", "predicted against expression"),
        scores="<results>/slides/{wsi}/{segmenter}/agreement_scores.tsv",
        nuclei="<results>/slides/{wsi}/{segmenter}/agreement.parquet",
        figure=slide_result("agreement.png", "agreement", "agreement with expression"),
        explorer=directory("<results>/slides/{wsi}/{segmenter}/xenium_explorer"),
    log:
        "<logs>/compare_slide/{wsi}.{segmenter}.log",
    benchmark:
        "<benchmarks>/compare_slide/{wsi}.{segmenter}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000, 8),
        runtime=runtime(120),
    params:
        labels=config["segmentation"]["labels"],
        radius_um=config["evaluation"]["radius_um"],
        seen=has_seen,
    message:
        "comparing the classes of {wildcards.wsi} by model {wildcards.segmenter} with gene expression"
    script:
        "../scripts/compare_slide.py"


rule export_model:
    input:
        checkpoint="<results>/models/{model}/checkpoint.pt",
    output:
        file="<results>/models/{model}/export/{model}.{format}",
    log:
        "<logs>/export_model/{model}.{format}.log",
    benchmark:
        "<benchmarks>/export_model/{model}.{format}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(6000, 6),
        runtime=runtime(30),
    params:
        format=lambda wildcards: next(name for name, ending in FORMATS.items() if ending == wildcards.format),
        size=config["patches"]["size"],
    message:
        "exporting model {wildcards.model} as {wildcards.format}"
    script:
        "../scripts/export_model.py"


rule write_model_card:
    input:
        checkpoint="<results>/models/{model}/checkpoint.pt",
        patches=card_patches,
        tables=lambda wildcards: score_tables(wildcards.model),
    output:
        card=model_result("README.md", "model_card", "model card"),
    log:
        "<logs>/write_model_card/{model}.log",
    benchmark:
        "<benchmarks>/write_model_card/{model}.tsv"
    conda:
        "../../envs/cellvit.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=runtime(15),
    params:
        sets=lambda wildcards: card_sets(wildcards.model),
        row=lambda wildcards: RUNS[wildcards.model],
    message:
        "writing the card of model {wildcards.model}"
    script:
        "../scripts/write_model_card.py"
