"""Commands, a module each: parse and call. What one prints stands beside it, in `_NAME_report`."""
