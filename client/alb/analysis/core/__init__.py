"""What a workload looked like: pure, streaming, and bounded in memory whatever the number of tasks."""
