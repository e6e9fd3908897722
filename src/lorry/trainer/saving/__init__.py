"""How training is put by and taken up again: state, snapshots, the thread that writes, what is kept."""
