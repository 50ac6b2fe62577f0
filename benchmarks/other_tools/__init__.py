"""The same small study in this tool and in others, as someone who knows the tool would write it."""
