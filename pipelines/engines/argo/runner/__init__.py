"""What runs in a stage's pod: it asks the portal what to do, does it with the executors, and reports."""
