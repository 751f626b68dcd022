"""Benchmarks of mlwright beside its peers, on one machine, alternating."""
