"""Results for people: what a study has found, on the terminal."""
