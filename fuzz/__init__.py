"""Strategies derived from the tables, and the properties that must hold."""
