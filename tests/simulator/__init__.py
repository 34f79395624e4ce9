"""The simulator: what it plays, and what it must not miss."""
