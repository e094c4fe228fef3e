"""Checkpoints of the Hugging Face hub: which revisions, their commits, and their files."""
