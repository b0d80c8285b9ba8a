"""The ``alb`` command. Each verb is a function in one of these modules; ``alb.cli.main`` finds it."""
