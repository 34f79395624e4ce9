"""Places where the handlers run: so far this machine (`hosts.local`)."""
