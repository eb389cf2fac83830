"""The storage account: the table with its rows, and the queues."""
