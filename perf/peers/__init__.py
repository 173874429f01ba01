"""What a user would pick instead of adlens, each in an environment of its own."""
