"""An independent judge: libiscsi's conformance suite, as Debian packages it."""
