"""Implementations behind the course; the public names are those of the subpackages."""
