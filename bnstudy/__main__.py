"""`python -m bnstudy` is `bnstudy`."""

from bnstudy.cli import main

if __name__ == "__main__":
    main()
