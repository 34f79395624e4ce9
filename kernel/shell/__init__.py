"""The shell: one file per command around the pure core. All I/O goes through the ports of the ``Environment``.

``commit`` is the only path by which a run changes; ``heads`` the only one by which its head does.
"""
