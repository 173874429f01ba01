"""Galleries of faces, pictures and influencers: files that a server searches, their writer, and a stand-in.

``kinds``     faces of campaign photos, pictures as they are, or influencers
``records``   what a gallery holds, and the three calls: add, search, forget
``served``    the three calls for files that a server searches
``qdrant``    the same three calls for Qdrant
``contents``  all photos in memory, and how they change
``files``     versions on disk: written whole, checked when read, wiped when old
``graph``     the search as an ONNX graph
``arrays``    its initializers
``journal``   embeddings on their way in, so that an interrupted run goes on
"""
