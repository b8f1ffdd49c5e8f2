"""Checks that all analyses share: of arguments, of what a map does besides stepping, and of randomness."""
