"""The kit: every port in memory, a meter for request units, faults at any port call, and suites for adapters."""
