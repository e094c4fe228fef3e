"""What a film says about learning: null models, roles, phases, and claims with their tests."""
