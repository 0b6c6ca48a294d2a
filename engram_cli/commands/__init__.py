"""The commands, one module per family; each module's ``app`` is found by the table in main."""
