"""Publishers and viewers that run as processes of their own."""
