"""The pages are true: their examples run, and what they name exists."""
