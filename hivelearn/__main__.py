"""``python -m hivelearn``: the command line without an installed script."""

from hivelearn.cli.app import main

if __name__ == "__main__":
    main()
