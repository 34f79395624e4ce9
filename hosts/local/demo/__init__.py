"""The demo: real handlers, runs through HTTP, things made to fail, and a look whether all is well."""

from hosts.local.demo.play import play

__all__ = ["play"]
