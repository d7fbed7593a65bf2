"""Tasks that are not steps of a recipe: fits, saved clusters, learned classes, feature views, encoding in advance."""
