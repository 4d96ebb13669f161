"""The command line: each command reads its options, makes one call and shows the result."""
