"""The wire: one JSON-RPC 2.0 object per line over a stream socket, without any socket in it."""
