"""Where data rests: pools, the cache, the queue, the schema and the seeded data set."""
