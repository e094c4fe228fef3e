"""Checkpoints of the Hugging Face hub: revisions, their commits and their files."""
