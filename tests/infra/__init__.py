"""What is particular to an adapter, beyond what the suite of its port asks."""
