"""The dataset: its schema, how a film is made, stored, selected from, and compared."""
