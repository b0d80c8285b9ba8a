"""The runner: a small single-threaded process that starts, watches and kills commands for its agent.

It knows no broker, no ZooKeeper and no table: it speaks ``messages`` over one socket, and its life hangs on
that socket alone. When the agent's end closes, it kills everything that it started and exits.
"""
