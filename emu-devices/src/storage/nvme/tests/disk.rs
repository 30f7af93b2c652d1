//! A disk in memory that is done with a request when the test says so, or with reads at once.

use super::*;
use emu_core::backend::{BlockError, BlockGeometry, Data, Operation};

pub struct Disk {
    pub content: Mutex<Vec<u8>>,
    pub geometry: Mutex<BlockGeometry>,
    requests: Mutex<Vec<BlockRequest>>,
    /// How requests end from now on, if not well.
    pub error: Mutex<Option<BlockError>>,
    /// What was done, in order.
    pub done: Mutex<Vec<String>>,
    /// Reads are done at once.
    pub at_hand: Mutex<bool>,
}

impl Disk {
    pub fn new(len: usize) -> Self {
        let geometry = BlockGeometry {
            len: len as u64,
            logical_block: 512,
            physical_block: 4096,
            read_only: false,
            discard: true,
            write_zeroes: true,
            volatile_cache: true,
        };
        Disk {
            content: Mutex::new((0..len).map(|at| (at / 512) as u8).collect()),
            geometry: Mutex::new(geometry),
            requests: Mutex::default(),
            error: Mutex::default(),
            done: Mutex::default(),
            at_hand: Mutex::default(),
        }
    }

    pub fn waiting(&self) -> usize {
        self.requests.lock().len()
    }

    /// Does the request that has waited for `number` others.
    pub fn finish(&self, number: usize) {
        let request = self.requests.lock().remove(number);
        let error = *self.error.lock();
        let (text, data) = self.perform(request.operation, error.is_none());
        self.done.lock().push(text);
        (request.done)(error.map_or(Ok(()), Err), data);
    }

    /// Does everything, and what it leads to.
    pub fn finish_all(&self) {
        while self.waiting() != 0 {
            self.finish(0);
        }
    }

    fn perform(&self, operation: Operation, really: bool) -> (String, Option<Data>) {
        let mut content = self.content.lock();
        let content = &mut *content;
        match operation {
            Operation::Read { offset, mut data } => {
                let text = format!("read {offset} {}", data.len());
                let from = &content[offset as usize..][..data.len()];
                match &mut data {
                    _ if !really => {}
                    Data::Guest(buffer) => buffer.copy_from(0, from),
                    Data::Device(bytes) => bytes.copy_from_slice(from),
                }
                (text, Some(data))
            }
            Operation::Write { offset, data, through } => {
                let text = format!("write {offset} {}{}", data.len(), if through { " through" } else { "" });
                let to = &mut content[offset as usize..][..data.len()];
                match &data {
                    _ if !really => {}
                    Data::Guest(buffer) => buffer.copy_to(0, to),
                    Data::Device(bytes) => to.copy_from_slice(bytes),
                }
                (text, Some(data))
            }
            Operation::Flush => ("flush".to_owned(), None),
            Operation::Discard { offset, len } => (format!("discard {offset} {len}"), None),
            Operation::WriteZeroes { offset, len, unmap } => {
                content[offset as usize..][..len as usize].fill(0);
                (format!("zero {offset} {len}{}", if unmap { " unmap" } else { "" }), None)
            }
        }
    }
}

impl BlockBackend for Disk {
    fn geometry(&self) -> BlockGeometry {
        self.geometry.lock().clone()
    }

    fn try_at_once(&self, operation: &mut Operation) -> bool {
        match operation {
            Operation::Read { offset, data: Data::Guest(buffer) } if *self.at_hand.lock() => {
                buffer.copy_from(0, &self.content.lock()[*offset as usize..][..buffer.len()]);
                true
            }
            _ => false,
        }
    }

    fn submit(&self, request: BlockRequest) {
        self.requests.lock().push(request);
    }
}
