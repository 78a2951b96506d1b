# Samples: reading into a store, tissue, and the alignment of nuclei with the H&E.
from stnuclei.config.samples import PLATFORM_COLUMNS

READ_COLUMNS = ("sample", "platform", "path", "he_image", "he_alignment", "tissue", "he_um_per_px", "hest_id")
READ_COLUMNS += ("nuclei", "counts")
READ_COLUMNS += tuple(PLATFORM_COLUMNS)


rule read_sample:
    input:
        bundle_input,
    output:
        store=directory("<results>/samples/{sample}/sample.zarr"),
    log:
        "<logs>/read_sample/{sample}.log",
    benchmark:
        "<benchmarks>/read_sample/{sample}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 2
    resources:
        mem_mb=memory(3000, 0.5),
        runtime=runtime(120),
    params:
        sample=sample_row(*READ_COLUMNS),
        settings=config["slides"],
    message:
        "reading sample {wildcards.sample}"
    script:
        "../scripts/read_sample.py"


rule find_tissue:
    input:
        store=rules.read_sample.output.store,
    output:
        tissue="<results>/samples/{sample}/tissue.tif",
        figure=sample_result("tissue.png", "tissue", "Slides", figure="tissue"),
    log:
        "<logs>/find_tissue/{sample}.log",
    benchmark:
        "<benchmarks>/find_tissue/{sample}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=runtime(30),
    params:
        um_per_px=config["tissue"]["um_per_px"],
    message:
        "detecting tissue on {wildcards.sample}"
    script:
        "../scripts/find_tissue.py"


rule check_alignment:
    input:
        store=rules.read_sample.output.store,
        tissue=rules.find_tissue.output.tissue,
    output:
        checked="<results>/samples/{sample}/alignment.json",
        figure=sample_result("alignment.png", "alignment", "Slides", figure="alignment"),
    log:
        "<logs>/check_alignment/{sample}.log",
    benchmark:
        "<benchmarks>/check_alignment/{sample}.tsv"
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=runtime(60),
    params:
        settings=config["alignment"],
        seed=config["seed"],
    message:
        "checking the alignment of {wildcards.sample}"
    script:
        "../scripts/check_alignment.py"
