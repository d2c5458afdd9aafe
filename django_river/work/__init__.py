"""From a claimed row to a stored result."""
