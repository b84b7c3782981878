"""What a guest may ask its host for, answered outside the guest's process.

``request`` has the shape of a question and of its answerer. Each service is a module of its own and
checks the grants of the call before it does anything.
"""
