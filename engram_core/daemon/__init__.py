"""The daemon: one process per database that owns its connections, its recall index and its socket."""
