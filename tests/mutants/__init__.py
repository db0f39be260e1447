"""Faults planted one at a time, and which of them no fast test notices: `make mutants`."""
