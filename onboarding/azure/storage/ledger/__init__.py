"""The kinds of entities in the ledger's table: their keys, how they are read, and the rows that lead to other rows."""
