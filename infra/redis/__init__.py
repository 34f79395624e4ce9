"""Redis: pokes over streams, for workers that run all the time. Needs redis-py, which the Lambda artefact leaves out.

It takes a server of version 6.2 or later, alone, as a cluster, or behind TLS.
"""
