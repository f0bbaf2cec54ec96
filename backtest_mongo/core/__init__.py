"""The foundation: the table of slots, payloads, settings, candle arrays and frames. No connection, no loop."""
