"""Workload analysis: rows of history in, figures, advice and reports out. Only `core` decides anything."""
