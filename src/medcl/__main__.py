"""Run the command line with `python -m medcl`."""

from medcl.cli import main

if __name__ == "__main__":
    main()
