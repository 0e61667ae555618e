"""Hooks for other libraries, one module each; a module needs the library that it is named by."""
