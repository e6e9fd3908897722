"""Learning from one's own answers: they are made, judged, credited, and then trained on like rows."""
