"""Images in rows: where they stand, what they hold, and how many tokens each becomes; Pillow is imported where one is read."""
