"""Workload analysis: rows of history in, figures, advice and reports out. `core` counts, the rest does I/O."""
