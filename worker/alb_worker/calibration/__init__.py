"""How fast this machine is: measured once in a process of its own, and kept in the worker's directory."""
