"""A whole cluster on one machine: ZooKeeper, brokers and workers as real processes."""
