"""What is dangerous about a command, found without running it: words, calls, places, rules; and who said it first."""
