"""Formats of exported results, one file each; the file's name is that of ``--format``.

Each file defines ``SUFFIXES`` of file names, ``KIND`` (a `cntbench.files.output.FileKind`: the
files that it may overwrite), ``write_file``, ``files`` and ``write_folder``; see
`cntbench.exchange.export.Format`.
"""
