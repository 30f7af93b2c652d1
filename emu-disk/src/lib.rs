//! Disk images: formats, their I/O threads, and the operations of `emu disk`.
