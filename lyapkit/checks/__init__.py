"""Checks that all analyses share: of arguments, of the purity of maps, and of randomness."""
