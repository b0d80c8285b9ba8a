"""The client's pure core: it decides, and touches neither sockets nor clocks. See ``alb.core.session``."""
