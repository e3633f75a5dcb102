"""`python -m earshot_asr` is the command `earshot`."""

from earshot_asr.client.cli import main

if __name__ == "__main__":
    main()
