"""``python -m cntbench``: the command line."""

from cntbench.cli.main import main

if __name__ == "__main__":  # processes that a run starts import this file, too
    main()
