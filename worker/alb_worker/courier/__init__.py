"""The courier: a worker's process that moves files, so that no byte of them passes the agent's loop."""
