"""What you want: the recipe, its loading, its templates."""
