"""Job 1 in the way of the IMG2RECOMMENDER project: six networks, one picture after the other."""
