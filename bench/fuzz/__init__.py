"""Promise 14: the API asked at random, by its own description, as a user, as a service and as nobody."""
