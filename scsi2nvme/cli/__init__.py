"""The command line: the one place that composes core, drivers and target."""
