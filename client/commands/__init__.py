"""The larger commands of `earshot`, one module each: options, help, and a call of the code that does the work."""
