"""The `tickroute` command, one file a command; nothing imports it."""
