"""What a user would otherwise pick, written as someone who knows the tool would write it."""
