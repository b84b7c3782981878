"""What flows between the processes of a node: submissions, deliveries, questions."""
