"""Work in the background: a queue in the database, one worker process, training and predictions."""
