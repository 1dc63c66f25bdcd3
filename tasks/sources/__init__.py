"""Where rows come from: one module per kind of source, read in bounded chunks."""
