"""The protocols that clients may speak, one file each; registry.py says which is spoken at which path."""
