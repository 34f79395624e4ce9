"""Worker processes as they are deployed, on real servers."""
