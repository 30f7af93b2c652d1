//! The host's side of networks: user-mode NAT, taps, sockets, captures.
