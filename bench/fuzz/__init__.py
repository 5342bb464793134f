"""Promise 14: API, payments and issuer asked at random, by their own descriptions, as nobody and as who may."""
