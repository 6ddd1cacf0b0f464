"""Training: pretraining, closed-loop evaluation, reports."""
