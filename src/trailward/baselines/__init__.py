"""Reference methods to compare with, a file an algorithm, with the contracts of our own parts."""
