//! The host's side of the network benchmarks: a server on the loopback interface that sends, takes or echoes.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

/// Starts the server; returns its port. It runs as long as the process.
pub fn start() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A guest that goes away in the middle is seen by what it does not print.
            thread::spawn(move || serve(client).ok());
        }
    });
    Ok(port)
}

/// Does what the first byte asks for, from the client's view: `i`n, `o`ut, `t`urn about.
fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut kind = [0];
    client.read_exact(&mut kind)?;
    let mut buffer = vec![0; 256 << 10];
    match kind[0] {
        b'i' => loop {
            client.write_all(&buffer)?;
        },
        b'o' => {
            while client.read(&mut buffer)? != 0 {}
            client.write_all(&[1])
        }
        _ => loop {
            let n = client.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            client.write_all(&buffer[..n])?;
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;

    fn client(kind: u8) -> TcpStream {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, start().unwrap())).unwrap();
        client.write_all(&[kind]).unwrap();
        client
    }

    #[test]
    fn each_kind_does_its_own() {
        let mut byte = [0];
        client(b'i').read_exact(&mut [0; 1 << 20]).unwrap();
        let mut out = client(b'o');
        out.write_all(&[7; 1 << 20]).unwrap();
        out.shutdown(Shutdown::Write).unwrap();
        out.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [1]);
        let mut turn = client(b't');
        turn.write_all(&[9]).unwrap();
        turn.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [9]);
    }
}
