//! The name server (RFC 1035): asks the host's own resolver for addresses and names, so that the host's hosts file and
//! its name service switch count, and the host's name servers for everything else.
//!
//! The resolver waits, so it has threads of its own. What it says has no lifetime; it is given a short one.

use super::inbox::Inbox;
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo, lookup_addr};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    str::FromStr,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

/// Questions that are asked at once.
const MOST_THREADS: usize = 16;
/// Questions that wait; more are lost, and guests ask again.
const MOST_WAITING: usize = 256;
/// How long a thread waits for a question.
const LINGER: Duration = Duration::from_secs(10);
/// How long a name server may think, of which there are several.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds that a guest may remember an answer for.
const LIFETIME: u32 = 30;
const HEADER: usize = 12;
/// What a guest takes that does not say.
const SHORT: usize = 512;
/// The most that is sent in a datagram: what fits the cable.
const LONGEST: usize = 1400;

const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const INTERNET: u16 = 1;

const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker {
    pub guest: SocketAddr,
    pub mac: [u8; 6],
    /// The name server's address that was asked.
    pub server: SocketAddr,
}

/// An answer to be sent.
pub(super) struct Answer {
    pub asker: Asker,
    pub message: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Asker, Vec<u8>)>,
    threads: usize,
    idle: usize,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

/// The host's resolver.
#[derive(Default)]
pub(super) struct Resolver(Arc<Shared>);

impl Resolver {
    /// Asks; the answer comes into `inbox`.
    pub fn ask(&self, asker: Asker, query: &[u8], inbox: &Arc<Inbox>) {
        let mut queue = self.0.queue.lock();
        if queue.waiting.len() >= MOST_WAITING {
            return;
        }
        queue.waiting.push_back((asker, query.to_vec()));
        if queue.idle < queue.waiting.len() && queue.threads < MOST_THREADS {
            let (shared, inbox) = (self.0.clone(), Arc::downgrade(inbox));
            let started = thread::Builder::new().name("resolver".into()).spawn(move || work(&shared, &inbox));
            match started {
                Ok(_) => queue.threads += 1,
                Err(error) => log::warn!("network: no thread for the resolver: {error}"),
            }
        }
        self.0.more.notify_one();
    }
}

fn work(shared: &Shared, inbox: &Weak<Inbox>) {
    let mut queue = shared.queue.lock();
    loop {
        let Some((asker, query)) = queue.waiting.pop_front() else {
            queue.idle += 1;
            let timed_out = shared.more.wait_for(&mut queue, LINGER).timed_out();
            queue.idle -= 1;
            if timed_out && queue.waiting.is_empty() {
                queue.threads -= 1;
                return;
            }
            continue;
        };
        drop(queue);
        let message = answer(&query);
        // The machine may be gone by now.
        if let (Some(inbox), Some(message)) = (inbox.upgrade(), message) {
            inbox.put(|mail| mail.answers.push(Answer { asker, message }));
        }
        queue = shared.queue.lock();
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    name: String,
    kind: u16,
    class: u16,
    /// Where the question ends in the message.
    end: usize,
}

impl Question {
    fn parse(query: &[u8]) -> Option<Self> {
        let mut name = String::new();
        let mut at = HEADER;
        loop {
            let len = usize::from(*query.get(at)?);
            at += 1;
            if len == 0 {
                break;
            }
            // A question has nothing to point back to.
            let label = query.get(at..at + len).filter(|_| len < 64)?;
            if !name.is_empty() {
                name.push('.');
            }
            // What is not text, or would be read as something else, is no name that the host's resolver knows.
            let text = std::str::from_utf8(label)
                .ok()
                .filter(|text| text.bytes().all(|b| b.is_ascii_graphic() && b != b'.'))?;
            name.push_str(text);
            at += len;
        }
        let tail = query.get(at..at + 4).filter(|_| name.len() < 254)?;
        let u16_at = |at: usize| u16::from_be_bytes([tail[at], tail[at + 1]]);
        Some(Question { name, kind: u16_at(0), class: u16_at(2), end: at + 4 })
    }

    /// The address whose name a question for a PTR asks for.
    fn address(&self) -> Option<IpAddr> {
        let name = self.name.to_ascii_lowercase();
        if let Some(reversed) = name.strip_suffix(".in-addr.arpa") {
            let mut parts: Vec<_> = reversed.split('.').collect();
            parts.reverse();
            return Ipv4Addr::from_str(&parts.join(".")).ok().map(IpAddr::V4);
        }
        let digits: String = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
        let good = digits.len() == 32 && name.len() == 32 * 2 - 1 + ".ip6.arpa".len();
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| good)?;
        Some(IpAddr::V6(Ipv6Addr::from(number)))
    }
}

/// The answer to a guest's message; none to what is no question.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    let response = header[2] & 0x80 != 0;
    let operation = header[2] >> 3 & 15;
    if response {
        return None;
    }
    let questions = u16::from_be_bytes([header[4], header[5]]);
    if operation != 0 {
        return Some(reply(query, HEADER, NOT_IMPLEMENTED, &[]));
    }
    if questions != 1 {
        return Some(reply(query, HEADER, FORMAT_ERROR, &[]));
    }
    let Some(question) = Question::parse(query) else { return forward(query) };
    let (code, records) = match (question.class, question.kind, question.address()) {
        (INTERNET, A | AAAA, _) if !question.name.is_empty() => addresses(&question),
        (INTERNET, PTR, Some(address)) => name(address),
        _ => return forward(query),
    };
    Some(reply(query, question.end, code, &records))
}

fn addresses(question: &Question) -> (u8, Vec<Vec<u8>>) {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = match getaddrinfo(Some(&question.name), None, Some(hints)) {
        Ok(found) => found,
        Err(error) => {
            return match error.kind() {
                LookupErrorKind::NoName => (NO_SUCH_NAME, Vec::new()),
                LookupErrorKind::NoData => (0, Vec::new()),
                _ => (SERVER_FAILURE, Vec::new()),
            };
        }
    };
    let mut records = Vec::new();
    for info in found.flatten() {
        let data = match (question.kind, info.sockaddr.ip()) {
            (A, IpAddr::V4(address)) => address.octets().to_vec(),
            (AAAA, IpAddr::V6(address)) => address.octets().to_vec(),
            _ => continue,
        };
        let record = record(question.kind, &data);
        if !records.contains(&record) {
            records.push(record);
        }
    }
    (0, records)
}

fn name(address: IpAddr) -> (u8, Vec<Vec<u8>>) {
    let Ok(name) = lookup_addr(&address) else { return (NO_SUCH_NAME, Vec::new()) };
    let mut data = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        if !(1..64).contains(&label.len()) {
            return (SERVER_FAILURE, Vec::new());
        }
        data.push(label.len() as u8);
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    (0, vec![record(PTR, &data)])
}

/// A record for the name that was asked for.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, HEADER as u8];
    record.extend_from_slice(&kind.to_be_bytes());
    record.extend_from_slice(&INTERNET.to_be_bytes());
    record.extend_from_slice(&LIFETIME.to_be_bytes());
    record.extend_from_slice(&(data.len() as u16).to_be_bytes());
    record.extend_from_slice(data);
    record
}

/// The size that the asker takes, if the query has the extension record right after the question (RFC 6891).
fn extension(query: &[u8], end: usize) -> Option<usize> {
    let counts = query.get(6..HEADER)?;
    let record = query.get(end..end + 11).filter(|_| counts == [0, 0, 0, 0, 0, 1])?;
    let is_extension = record[0] == 0 && u16::from_be_bytes([record[1], record[2]]) == OPT;
    is_extension.then(|| usize::from(u16::from_be_bytes([record[3], record[4]])).clamp(SHORT, LONGEST))
}

/// Makes an answer of the query up to `end`, with as many records as fit.
fn reply(query: &[u8], end: usize, code: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let extension = extension(query, end);
    let room = extension.map_or(SHORT, |size| size - 11);
    let mut message = query[..end].to_vec();
    let mut count = 0u16;
    let mut cut = false;
    for record in records {
        cut = message.len() + record.len() > room;
        if cut {
            break;
        }
        message.extend_from_slice(record);
        count += 1;
    }
    // A response, cut or not, with recursion wanted as in the query and to be had.
    message[2] = 0x80 | query[2] & 0x79 | u8::from(cut) << 1;
    message[3] = 0x80 | code;
    message[4..6].copy_from_slice(&u16::from(end > HEADER).to_be_bytes());
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message[8..10].fill(0);
    message[10..12].copy_from_slice(&u16::from(extension.is_some()).to_be_bytes());
    if extension.is_some() {
        message.extend_from_slice(&[0, 0, OPT as u8]);
        message.extend_from_slice(&(LONGEST as u16).to_be_bytes());
        message.extend_from_slice(&[0; 6]);
    }
    message
}

/// The name servers that the host is configured to ask.
pub(super) fn name_servers() -> Vec<SocketAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver"))
            .then(|| words.next()?.parse().ok())?
            .map(|ip| SocketAddr::new(ip, 53))
    };
    text.lines().filter_map(server).take(3).collect()
}

/// Asks the host's name servers.
fn forward(query: &[u8]) -> Option<Vec<u8>> {
    let servers = name_servers();
    let answer = servers.into_iter().find_map(|server| ask(server, query));
    answer.or_else(|| Some(reply(query, HEADER, SERVER_FAILURE, &[])))
}

fn ask(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let any =
        if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(server).ok()?;
    socket.set_read_timeout(Some(SERVER_TIMEOUT)).ok()?;
    socket.send(query).ok()?;
    let mut buffer = vec![0; 65536];
    let len = socket.recv(&mut buffer).ok().filter(|len| *len >= HEADER && buffer[..2] == query[..2])?;
    buffer.truncate(len);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend_from_slice(label.as_bytes());
        }
        query.push(0);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&INTERNET.to_be_bytes());
        query
    }

    #[test]
    fn a_reversed_address_is_read() {
        let question = Question::parse(&query("4.3.2.1.in-addr.arpa", PTR)).unwrap();
        assert_eq!(question.address(), Some("1.2.3.4".parse().unwrap()));
        let name = format!("1.{}ip6.arpa", "0.".repeat(31));
        let question = Question::parse(&query(&name, PTR)).unwrap();
        assert_eq!(question.address(), Some("::1".parse().unwrap()));
    }

    #[test]
    fn an_answer_that_does_not_fit_says_so_and_keeps_whole_records() {
        let records: Vec<_> = (0..100).map(|n| record(A, &[10, 0, 0, n])).collect();
        let asked = query("example.org", A);
        let message = reply(&asked, asked.len(), 0, &records);
        assert!(message.len() <= SHORT && message[2] & 2 != 0);
        assert_eq!((message.len() - asked.len()) % records[0].len(), 0);
        let count = usize::from(u16::from_be_bytes([message[6], message[7]]));
        assert_eq!(count, (message.len() - asked.len()) / records[0].len());
    }

    proptest! {
        #[test]
        fn no_message_is_too_odd(query in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(question) = Question::parse(&query) {
                question.address();
                prop_assert!(question.end <= query.len());
                reply(&query, question.end, 0, &[]);
            }
        }
    }
}
