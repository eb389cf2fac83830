"""Log Analytics: the query API of workspaces, with the table Heartbeat."""
