"""PostgreSQL, as Django has it, that is waited for where it cannot be reached for a moment."""
