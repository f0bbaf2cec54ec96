"""The storage that needs nothing installed: JSON files, laid out as the Node package's default lays them out.

:mod:`~backtest_mongo.files.layout` says where a row's file is. The file's content is the payload itself, so either side
reads what the other has written. What MongoDB keeps beside a payload has no place in that; it behaves the same here:

* **The simulation time** of a row, and the **order of first writes** that the lists of the newest rows need, stand in
  a second file beside the first: ``.name.facts`` beside ``name.json``. Node takes for an entity what ends in ``.json``
  and does not start with ``.tmp-``, so it passes over this one; and no entity of ours starts with a dot. It is one file
  a row, not one a directory: what a write costs does not grow with its neighbours.
* **Both at once.** The facts name the payload that they belong to by its digest, and are written first, with those of
  the payload before: a writer that is killed in between has changed nothing, and whoever reads sees one pair or the
  other. The rename of the payload is what makes a write.
* **A payload that the facts don't know** is Node's. Its simulation time is its own ``when``, if it has a whole number
  there, and the time its file was written otherwise, which lets no reader see too much. Its place among the newest rows
  is the time its file was written, and stays that when it is written here.
* **Removed rows** keep their file, whose payload says ``removed``, as in MongoDB. For a payload that is no object the
  facts say so.
* **Names** that can't be a file's are escaped, and ordinary ones are Node's: see :mod:`~backtest_mongo.files.names`.
* **Values** that JSON lacks are spelled as MongoDB's extended JSON does: see :mod:`~backtest_mongo.files.text`.

A write is a temporary file, ``fsync``, a rename and ``fsync`` of the directory. Writers of one directory take turns, in
this process by a queue and between processes by a lock on the directory, which ends with its holder. Readers take no
lock. A candle's file is linked to its name, which only the first can do: so it is with Node's writers too.
"""
