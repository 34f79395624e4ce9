"""The engine's log: the standard library's logger ``onewrite``; hosts decide where its lines go."""

import logging

log = logging.getLogger("onewrite")
