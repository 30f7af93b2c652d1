//! Folders of the host that guests share: a 9P2000.L server that cannot be led out of its folder.
