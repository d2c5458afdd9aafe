"""What a job is before it is a row: pure, without a database and without threads."""
