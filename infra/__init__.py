"""The adapters: each implements a port of the kernel over one technology that nothing else knows."""
