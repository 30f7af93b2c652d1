//! The host's side of the network load: the protocol is told in `bench-guest/net/stream.c`.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

/// Longer than a busy machine takes for anything, and than a machine that is stopped for a measurement waits.
const PATIENCE: Duration = Duration::from_secs(600);

/// The bytes that both ends can make.
struct Stream(u64);

impl Stream {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Bytes that are made at once. A stream goes on behind them as if there were no chunks: it is a multiple of 8.
const CHUNK: usize = 64 << 10;

fn send(to: &mut impl Write, seed: u64, len: u64) -> io::Result<()> {
    let (mut stream, mut buffer, mut left) = (Stream(seed), vec![0; CHUNK], len);
    while left > 0 {
        let now = left.min(CHUNK as u64) as usize;
        stream.fill(&mut buffer[..now]);
        to.write_all(&buffer[..now])?;
        left -= now as u64;
    }
    Ok(())
}

/// Whether the right bytes come.
fn receive(from: &mut impl Read, seed: u64, len: u64) -> io::Result<bool> {
    let (mut stream, mut left) = (Stream(seed), len);
    let (mut expected, mut buffer) = (vec![0; CHUNK], vec![0; CHUNK]);
    while left > 0 {
        let now = left.min(CHUNK as u64) as usize;
        stream.fill(&mut expected[..now]);
        from.read_exact(&mut buffer[..now])?;
        if buffer[..now] != expected[..now] {
            return Ok(false);
        }
        left -= now as u64;
    }
    Ok(true)
}

/// Serves streams and datagrams on the loopback interface as long as the process runs; the same port for both.
pub fn start() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A guest that goes away in the middle is seen by what it does not say.
            thread::spawn(move || serve(client).ok());
        }
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok((len, from)) = datagrams.recv_from(&mut buffer) {
            // A datagram that cannot be answered is one that is lost.
            datagrams.send_to(&buffer[..len], from).ok();
        }
    });
    Ok(port)
}

fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; 17];
    client.read_exact(&mut request)?;
    let word = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().expect("eight bytes are eight"));
    let (seed, len) = (word(1), word(9));
    if request[0] == b'd' {
        send(&mut client, seed, len)
    } else {
        let right = receive(&mut client, seed, len)?;
        client.write_all(if right { b"y" } else { b"n" })
    }
}

/// Has the server at `port`, which is the guest's, send a stream or take one. Returns whether all was right.
pub fn call(port: u16, kind: u8, seed: u64, len: u64) -> io::Result<bool> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let mut request = vec![kind];
    request.extend_from_slice(&seed.to_le_bytes());
    request.extend_from_slice(&len.to_le_bytes());
    server.write_all(&request)?;
    let mut byte = [0];
    if kind == b'd' {
        Ok(receive(&mut server, seed, len)? && server.read(&mut byte)? == 0)
    } else {
        send(&mut server, seed, len)?;
        server.read_exact(&mut byte)?;
        Ok(byte[0] == b'y')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_checked() {
        let port = start().unwrap();
        for len in [0, 1, 7, 100_000] {
            assert!(call(port, b'd', 5, len).unwrap());
            assert!(call(port, b'u', 6, len).unwrap());
        }
        assert!(!receive(&mut &[0; 16][..], 5, 16).unwrap(), "zeroes are no stream");
    }

    #[test]
    fn datagrams_come_back() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(b"there and back", (Ipv4Addr::LOCALHOST, start().unwrap())).unwrap();
        let mut buffer = [0; 32];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 14);
    }
}
