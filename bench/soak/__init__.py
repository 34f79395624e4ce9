"""The chaos soak: processes killed at random for minutes on DynamoDB Local, every run accounted for.

``make soak``, or ``python -m bench.soak --minutes 5``: the local host and its queue. ``make soak TRANSPORT=redis``, or
``--transport redis``: worker processes, and Redis that loses its data. Stages keep what they did in files of their own,
outside of Onewrite; at the end those are compared with the logs of all runs that were ever accepted.
"""
