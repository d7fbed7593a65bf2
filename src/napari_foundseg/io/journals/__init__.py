"""The parts of `io.journal`: the writing process, the meaning of records, their storage, and the files."""
