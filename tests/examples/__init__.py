"""The example workflows: their stages as plain functions, and whole runs in memory."""
