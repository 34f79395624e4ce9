"""Lambda entry points: they parse, call the kernel, and translate the outcome.

Each module composes its environment when its ``handler`` is first asked for, which Lambda does during initialisation:
importing a module has no effect, and a deployment that is set up wrong fails before its first event.
"""
