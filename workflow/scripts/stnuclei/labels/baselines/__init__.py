"""Gene-set baselines, one module a method."""
