"""A machine borrowed and given back: offers, leases, SSH, transfer, what happens when something dies."""
