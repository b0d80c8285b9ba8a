"""The broker's shell: sockets, the ZooKeeper session, files, signals. It owns a core and decides nothing."""
