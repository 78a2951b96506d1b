# Simulated slides and PanNuke-format folds of the demo.
if "simulate" in config:

    rule simulate_sample:
        output:
            directory("<demo>/{name}"),
        log:
            "<logs>/simulate_sample/{name}.log",
        benchmark:
            "<benchmarks>/simulate_sample/{name}.tsv"
        wildcard_constraints:
            name="|".join(map(re.escape, config["simulate"]["samples"])),
        conda:
            "../../envs/spatial.yaml"
        threads: 1
        resources:
            mem_mb=memory(3000),
            runtime=runtime(15),
        params:
            settings=lambda wildcards: config["simulate"]["samples"][wildcards.name],
            seed=config["seed"],
        message:
            "simulating the Xenium run {wildcards.name}"
        script:
            "../scripts/simulate_sample.py"

    rule simulate_pannuke:
        output:
            directory("<demo>/pannuke"),
        log:
            "<logs>/simulate_pannuke.log",
        benchmark:
            "<benchmarks>/simulate_pannuke.tsv"
        conda:
            "../../envs/spatial.yaml"
        threads: 1
        resources:
            mem_mb=memory(3000),
            runtime=runtime(15),
        params:
            settings=config["simulate"]["pannuke"] or {},
            seed=config["seed"],
        message:
            "simulating the PanNuke-format folds"
        script:
            "../scripts/simulate_pannuke.py"
