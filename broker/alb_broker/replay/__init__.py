"""The broker's core in virtual time: what a policy would have made of a workload.

Nothing here decides anything: the core does, and around it is the least that it needs to believe that it
leads a cluster. It is pure: the same trace, machines, policy and seed give the same result on every machine.
"""
