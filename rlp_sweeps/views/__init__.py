"""What a sweep at work looks like: a live table on a terminal, lines in a log or a notebook.

- ``progress_state``: how far it is, in numbers;
- ``live_view``: the table and the lines that are made of them.
"""
