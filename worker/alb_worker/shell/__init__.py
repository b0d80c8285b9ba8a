"""The worker's shell: sockets, ZooKeeper, the link to the runner, and the spool of output."""
