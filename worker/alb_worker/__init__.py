"""The worker: an agent that serves one machine to the cluster, and the runner that runs its commands."""
