"""The game and its rules: tasks, how to play them, how play is recorded, how it is scored and shown."""
