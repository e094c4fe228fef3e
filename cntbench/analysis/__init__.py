"""What is derived from a film, once, and reused: metrics, null models, roles, verdicts, scores."""
