"""The only shared I/O: the ZooKeeper session, sockets, logs, the clock. Nothing here decides anything."""
