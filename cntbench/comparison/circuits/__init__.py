"""Circuits: chosen by a method's scores, run in the model, and compared with random circuits."""
