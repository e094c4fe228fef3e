"""Work on several processes, and Ctrl-C while they work."""
