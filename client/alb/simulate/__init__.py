"""``alb simulate``: traces in, replays of the real core, reports out. Only `core` decides anything."""
