"""The worker's decisions, pure: events go in, actions come out. ``worker.WorkerCore`` is the door."""
