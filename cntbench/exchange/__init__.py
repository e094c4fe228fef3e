"""Results for other programs, and other programs' graphs as results; one file per format."""
