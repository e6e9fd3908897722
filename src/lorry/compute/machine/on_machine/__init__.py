"""What runs on a rented machine before and beside lorry itself: files that are sent as they are and need nothing installed."""
