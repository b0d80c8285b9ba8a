"""``python -m tests.simulation``: see ``run.py``."""

from tests.simulation.run import main

main()
