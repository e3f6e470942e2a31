"""The pages under docs/ and the README: what is generated is fresh, what is written by hand is true."""
