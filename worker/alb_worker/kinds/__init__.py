"""Kinds of task: what a worker runs for a task that is no plain command.

``interface.py`` is what a plug-in sees. It is found through the entry point group ``alb.kinds``; ``command``
and ``binary`` are built in. See ``docs/kinds.md``.
"""
