"""The depot beside a broker: a process of its own that keeps files and speaks HTTP."""
