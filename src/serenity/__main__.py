"""`python -m serenity` is the `serenity` command."""

from serenity.cli.main import main

if __name__ == "__main__":
    main()
