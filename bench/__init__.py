"""Benchmarks that run by name. Each result keeps commit, machine, versions and command."""
