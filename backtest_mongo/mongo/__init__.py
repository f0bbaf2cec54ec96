"""One slot in one collection: operations, batching, reads, writes, indexes, change streams, migrations."""
