"""What `io.journal` consists of: the process that writes, what records say, how they are stored, the files."""
