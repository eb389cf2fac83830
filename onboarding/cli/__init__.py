"""The command line. One module per command."""
