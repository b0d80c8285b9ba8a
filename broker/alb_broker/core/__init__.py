"""The broker's pure core: events in, actions out. Start with ``broker.py``."""
