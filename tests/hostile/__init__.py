"""Input that nobody in his right mind would send: to the API as a whole, and to every parser of outside data."""
