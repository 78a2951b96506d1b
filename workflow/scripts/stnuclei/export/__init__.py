"""Nuclei of a slide for other programs and for people: QuPath, SpatialData, Xenium Explorer, tables, pictures."""
