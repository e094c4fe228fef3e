"""Formats of exported results, one file each, named as ``--format`` names them.

A file defines ``SUFFIXES`` of the names of its files, ``KIND`` (a `cntbench.output.FileKind`: which
files it may write over), ``write_file``, ``files`` and ``write_folder``; see
`cntbench.exchange.export.Format`.
"""
