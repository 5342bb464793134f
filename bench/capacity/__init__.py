"""To a million users on paper: what is needed when, computed from what was measured."""
