"""The simulator: the shipped kernel, unchanged, in a world that is out to break it.

Workers, ticks and clients run as actors that take turns at every port call, in one process, in an order drawn from a
seed. The world loses, doubles and delays messages, crashes and freezes processes, swallows replies, throttles, shows
stale indexes, sets clocks wrong and deploys in the middle. A watch looks at every write, and says by name which
invariant it breaks. The same seed gives the same history, to the byte.

Read in this order: ``history`` (one history from its seed to its verdict), ``deployment`` (what is deployed in it),
``world`` (actors and time), ``weather`` (what goes wrong), ``ports`` and ``places`` (where it goes wrong), ``traffic``
and ``invocations`` (messages in SQS, and who is given them), ``streams`` and ``workers`` (messages in streams, as every
third history has them, and who takes them), ``people``, ``flows``, ``bodies`` and ``stagehand`` (what is asked of the
kernel), ``watch`` and what it names (the invariants), ``breaks`` (what happens without each guard), ``shrink``.
"""
