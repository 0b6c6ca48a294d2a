"""Everything durable: tables and dialects as data, statements as text, one store over any driver."""
