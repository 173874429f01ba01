"""Galleries of campaign photos: files that a server searches, what writes them, and stand-ins.

``records``   what a gallery holds, and the three calls: add, search, forget
``contents``  all photos in memory, and how they change
``files``     versions on disk: written whole, checked when read, wiped when old
``graph``     the search as an ONNX graph
"""
