"""What only the leader does: one service per file."""
