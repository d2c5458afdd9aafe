"""The Gazette by e-mail: once a day to every reader."""
