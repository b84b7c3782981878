"""The way of a message: admit, journal, converse, resolve, deliver, handle, confirm."""
