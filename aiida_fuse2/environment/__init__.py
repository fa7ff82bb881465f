"""What a search needs from AiiDA on this machine: profile, computer, codes, daemon; and the diagnosis of problems."""
