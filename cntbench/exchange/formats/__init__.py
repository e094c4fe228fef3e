"""Formats of exported results, one file each; the file's name is that of ``--format``.

Each file defines ``SUFFIXES`` of file names; ``KIND`` (a `cntbench.files.output.FileKind`), which
files it may overwrite; ``write_file(tree, path)``, which writes one file;
``write_folder(tree, folder)``, which writes the whole result and returns the files; and
``files(tree, folder)``, which yields the files that this may write.
"""
