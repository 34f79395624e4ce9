"""The chaos soak: the local host on DynamoDB Local, processes killed at random for minutes, every run accounted for.

``make soak``, or ``python -m bench.soak --minutes 5``. Stages keep what they did in files of their own, outside of
Onewrite; at the end those are compared with the logs of all runs that were ever accepted.
"""
