"""Numbers with intervals, tables and figures: what every report of medzoo is made of. Knows nothing of models."""
