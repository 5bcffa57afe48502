"""Pure functions on (logits or probabilities, stroke weights); none knows a file or an ignore value."""
