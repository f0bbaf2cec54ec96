"""JSON files, in the layout of the Node package's default storage.

:mod:`~backtest_mongo.files.layout` says where a row's file is. The file holds the payload and nothing else, so the Node
package and this library read each other's files. What MongoDB keeps besides the payload is kept as follows:

* **Metadata sidecar**: the simulation time of a row, and the order of first writes, by which lists of the newest rows
  are sorted, are in a second file: ``.name.facts`` next to ``name.json``. For Node an entity is a file that ends in
  ``.json`` and does not start with ``.tmp-``, so it ignores the sidecar; and no entity of this library starts with a
  dot. There is one sidecar per row and not one per directory, so that the cost of a write does not grow with the number
  of rows.
* **Atomic writes**: the sidecar names its payload by a digest. It is written first, and has the entry of the previous
  payload too. A writer that is killed before it renames the payload has changed nothing, and a reader sees either the
  old pair or the new one.
* **Node's payloads** are those whose digest is not in the sidecar. Their simulation time is their own ``when``, if that
  is a whole number, and otherwise the time when the file was written, so that no reader looks ahead. In lists of the
  newest rows they are sorted by the time when the file was written; writing them here does not change that time.
* **Removed rows** keep their file, with ``removed`` in the payload. If the payload is not an object, the mark is in the
  sidecar.
* **Names** that a file can't have are escaped, and ordinary names are Node's: see :mod:`~backtest_mongo.files.names`
  and :mod:`~backtest_mongo.files.paths`.
* **Values** that JSON lacks are written as MongoDB's extended JSON: see :mod:`~backtest_mongo.files.text`.

A write makes a temporary file, calls ``fsync``, renames the file and calls ``fsync`` on the directory. A queue orders
the writers of a directory in this process, and a lock on the directory keeps processes apart; it ends with the process
that holds it. Readers take no lock. A candle's file is linked to its name, which fails if the name is taken, so the
first write wins against Node's writers too.
"""
