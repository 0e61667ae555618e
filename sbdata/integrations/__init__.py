"""Hooks for other libraries, one module each; a module needs the library of its name."""
