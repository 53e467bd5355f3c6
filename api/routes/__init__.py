"""The routes, by subject. Handlers parse, call the core and return."""
