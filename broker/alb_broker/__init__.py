"""The broker: one leads, the rest stand by. ``core`` decides, ``policies`` choose, ``shell`` acts."""
