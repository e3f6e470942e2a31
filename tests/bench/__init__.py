"""What `make bench` measures; docs/benchmarks.md explains each figure."""
