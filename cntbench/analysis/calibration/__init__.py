"""How often claims are supported on simulated films, whose truth is known: rates and power."""
