"""The local host: the shapes of its events, how it feeds queues, and everything together on moto."""
