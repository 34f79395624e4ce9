"""The worker host: long-running processes in containers and on servers that do what functions do on Lambda."""
