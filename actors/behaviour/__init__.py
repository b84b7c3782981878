"""What an actor can do between messages: timers, receive timeout, results piped to itself."""
