"""Circuits of a method: chosen by its scores, put to work, and compared with chance."""
