"""How captions are chosen: one search for every model, and the rules for what may be said next."""
