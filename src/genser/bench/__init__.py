"""Fair comparison of heads and encoders over folds and seeds."""
