"""What is done on a machine that was rented: set up, sent to, started, followed, fetched from."""
