"""The failure gallery: what broke in systems like this one, re-enacted here, test by test.

``python -m tests.gallery`` prints it: whose failure, its number there, what went wrong, and the test that shows that it
cannot happen here.
"""
