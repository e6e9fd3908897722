"""Who looks after rented runs: from offers to a machine, attempt after attempt, until everything is given back."""
