"""The pure core: what a run is (``events``, ``state``), how it changes (``evolve``) and what comes next (``decide``).

Nothing here does I/O, reads a clock or draws a random number.
"""
