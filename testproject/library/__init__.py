"""The reading-room: documents, their words and their links."""
