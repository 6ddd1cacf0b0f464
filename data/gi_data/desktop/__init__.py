"""Any game on the desktop: its window's pictures out, input into it, and what a person presses meanwhile.

One small interface (`protocol`), X11 behind it (`x11`), Windows and macOS behind it by libraries (`portable`).
"""
