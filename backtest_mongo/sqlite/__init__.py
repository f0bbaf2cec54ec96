"""The embedded database: every slot in one SQLite file, without a server.

* **Tables**: one per collection, named like it (``signal-items``). :mod:`~backtest_mongo.sqlite.layout` has their
  columns: the fields of the natural key, the payload as extended JSON, ``when``, ``removed``, and the times of the
  first and the last write. ``number`` is the order of first writes, by which lists of the newest rows are sorted.
* **Payloads** are JSON text, which the ``sqlite3`` shell shows and ``json_extract`` reads. Measured, encoding and
  decoding take as long as those of BSON with C's help, and BSON would need the text beside it to be readable.
* **Candles** are in blocks: :mod:`~backtest_mongo.sqlite.series` says why.
* **Connections**, the writer's thread and what becomes of them at a fork:
  :mod:`~backtest_mongo.sqlite.database`.
* **Format**: ``application_id`` marks the file as this library's, and ``user_version`` is the version of its format.
  Older formats are upgraded when the file is opened, newer ones are refused: :mod:`~backtest_mongo.sqlite.file_format`.
"""
