"""What a film says about learning: null models, roles, phases, and claims that are tests."""
