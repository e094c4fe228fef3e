"""The functions that Python users call; the package `cntbench` has them all."""
