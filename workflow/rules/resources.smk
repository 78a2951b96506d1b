# Downloads: HEST-1k samples, encoder weights; and marker tables rebuilt from their originals.
rule download_hest:
    output:
        checksums="{folder}/checksums/{hest_id}.json",
    log:
        "<logs>/download_hest/{folder}/{hest_id}.log",
    benchmark:
        "<benchmarks>/download_hest/{folder}/{hest_id}.tsv"
    wildcard_constraints:
        hest_id="|".join(map(re.escape, HEST_IDS)) or "none",
    retries: 3
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(240),
    params:
        revision=config["hest"]["revision"],
        spots=lambda wildcards: wildcards.hest_id in SPOT_IDS,
    message:
        "downloading HEST-1k sample {wildcards.hest_id}"
    script:
        "../scripts/download_hest.py"


rule rebuild_markers:
    output:
        tables=directory("<results>/markers"),
    log:
        "<logs>/rebuild_markers.log",
    # Equal originals and code give equal tables, so workflows may share them (--cache rebuild_markers).
    # Snakemake refuses benchmarks of cached rules.
    cache: True
    conda:
        "../../envs/labels.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(60),
    params:
        originals=config["markers"],
        version=VERSION,
    message:
        "rebuilding the marker tables from their originals"
    script:
        "../scripts/rebuild_markers.py"


rule fetch_weights:
    output:
        weights="<results>/weights/{weights}",
    log:
        "<logs>/fetch_weights/{weights}.log",
    wildcard_constraints:
        weights="|".join(map(re.escape, WEIGHTS)) or "none",
    # One download for all workflows that share a cache (--cache fetch_weights); see above for the benchmark.
    cache: True
    retries: 3
    conda:
        "../../envs/spatial.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(60),
    params:
        url=lambda wildcards: WEIGHTS[wildcards.weights],
    message:
        "fetching the encoder weights {wildcards.weights}"
    script:
        "../scripts/fetch_weights.py"
