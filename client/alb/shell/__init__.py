"""The client's side effects: one thread with its sockets, and short visits to ZooKeeper."""
