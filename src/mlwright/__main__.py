"""`python -m mlwright` is `mlwright`."""

from mlwright.app.cli import main

if __name__ == "__main__":
    main()
