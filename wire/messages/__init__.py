"""What Serenity's own processes tell one another, and what they write down for each other."""
