"""Galleries of campaign photos: files that a server searches, what writes them, and a stand-in.

``records``   what a gallery holds, and the three calls: add, search, forget
``served``    the three calls for files that a server searches
``qdrant``    the same three calls for Qdrant
``contents``  all photos in memory, and how they change
``files``     versions on disk: written whole, checked when read, wiped when old
``graph``     the search as an ONNX graph
``journal``   embeddings on their way in, so that an interrupted run goes on
"""
