"""Many runs at once: a specification, its runs as Parquet shards, and what they say together."""
