"""Of the native data plane's bindings."""

PAGE = 4096
