"""`python -m hosts.local`: see `cli`."""

from hosts.local.cli import main

main()
