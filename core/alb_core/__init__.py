"""The words that clients, brokers and workers share: tasks, messages, znode forms, errors, configuration.

Everything here but ``alb_core.io`` is pure: it imports no socket, clock, random source or logger.
"""

__version__ = "0.1.0"
