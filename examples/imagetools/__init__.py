"""Container images without a container engine: build layers, write OCI archives, push them."""


class ToolError(Exception):
    """Something the person at the terminal can put right; the text says how."""
