"""What a user asks for becomes a study, who fills which socket of it, and what it ends with."""
