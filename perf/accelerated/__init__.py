"""What ``perf.gpu`` is made of: one module an engine, each imported only where it is there.

No module imports another engine's, nor anything but torch and numpy where it is imported: a GPU machine
seldom has all of them.
"""
