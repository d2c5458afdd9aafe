"""The Gazette: a reading-room that shows how a site uses django_river."""
