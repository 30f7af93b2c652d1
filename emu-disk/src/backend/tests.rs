//! The threads, with images that are full, cold, or wait for each other.

use super::*;
use crate::image::{Extent, ExtentKind};
use std::sync::mpsc::{Receiver, Sender, channel};

/// An image on a host disk that is full for a while.
struct Full {
    refusals: AtomicUsize,
    /// Reads have to wait.
    cold: bool,
}

impl Image for Full {
    fn len(&self) -> u64 {
        1 << 20
    }

    fn read(&self, _: u64, target: &Target<'_>, wait: Wait) -> io::Result<()> {
        if self.cold && wait == Wait::No {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        target.clear();
        Ok(())
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    fn extent(&self, _: u64, len: u64) -> io::Result<Extent> {
        Ok(Extent { len, kind: ExtentKind::Unallocated, depth: 0 })
    }

    fn write(&self, _: u64, _: &Source<'_>) -> io::Result<()> {
        let one_less = |left: usize| left.checked_sub(1);
        match self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Err(_) => Ok(()),
        }
    }

    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

struct Told(Sender<&'static str>);

impl SpaceWatch for Told {
    fn no_space(&self, _: &Path, _: &io::Error) {
        self.0.send("no space").unwrap();
    }

    fn space_again(&self, _: &Path) {
        self.0.send("space again").unwrap();
    }
}

fn disk(refusals: usize, space_watch: Option<Arc<dyn SpaceWatch>>) -> Disk {
    of(Arc::new(Full { refusals: AtomicUsize::new(refusals), cold: false }), space_watch)
}

fn of(image: Arc<dyn Image>, space_watch: Option<Arc<dyn SpaceWatch>>) -> Disk {
    let path = PathBuf::from("image");
    let grows = path.clone();
    let settings = Settings { path, grows, read_only: false, discard: false, volatile: true, space_watch };
    Disk::new(image, settings).unwrap()
}

/// Asks for something; the answer comes by the channel.
fn ask(disk: &Disk, operation: Operation) -> Receiver<Result<(), BlockError>> {
    let (sender, receiver) = channel();
    let done = Box::new(move |result, _: Option<Data>| sender.send(result).unwrap());
    disk.submit(BlockRequest { operation, done });
    receiver
}

fn write() -> Operation {
    Operation::Write { offset: 0, data: Data::Device(vec![0; 512].into()), through: false }
}

#[test]
fn a_write_without_room_is_kept_until_there_is_some() {
    let (sender, told) = channel();
    let disk = disk(1, Some(Arc::new(Told(sender))));
    let written = ask(&disk, write());
    assert_eq!(told.recv().unwrap(), "no space");
    let read = Operation::Read { offset: 0, data: Data::Device(vec![1; 512].into()) };
    assert_eq!(ask(&disk, read).recv().unwrap(), Ok(()), "others go on meanwhile");
    assert_eq!(written.recv().unwrap(), Ok(()));
    assert_eq!(told.recv().unwrap(), "space again");
}

#[test]
fn the_end_does_not_wait_for_room() {
    let (sender, told) = channel();
    let disk = disk(usize::MAX, Some(Arc::new(Told(sender))));
    let written = ask(&disk, write());
    assert_eq!(told.recv().unwrap(), "no space");
    drop(disk);
    assert_eq!(written.recv().unwrap(), Err(BlockError::Host));
    assert!(told.try_recv().is_err(), "there never was room");
}

#[test]
fn without_a_watch_a_write_without_room_fails() {
    assert_eq!(ask(&disk(1, None), write()).recv().unwrap(), Err(BlockError::Host));
}

fn read(len: usize) -> Operation {
    Operation::Read { offset: 0, data: Data::Device(vec![1; len].into()) }
}

#[test]
fn short_reads_from_the_hosts_cache_are_done_at_once() {
    let disk = disk(0, None);
    let mut short = read(MOST_AT_ONCE);
    assert!(disk.try_at_once(&mut short));
    assert!(
        matches!(short, Operation::Read { data: Data::Device(bytes), .. } if bytes.iter().all(|b| *b == 0))
    );
    for mut other in [read(MOST_AT_ONCE + 512), read(511), write(), Operation::Flush] {
        assert!(!disk.try_at_once(&mut other), "{other:?}");
    }
    let mut beyond = Operation::Read { offset: 1 << 20, data: Data::Device(vec![1; 512].into()) };
    assert!(!disk.try_at_once(&mut beyond));
}

#[test]
fn what_has_to_be_waited_for_is_not_done_at_once() {
    let disk = of(Arc::new(Full { refusals: AtomicUsize::new(0), cold: true }), None);
    let mut cold = read(512);
    assert!(!disk.try_at_once(&mut cold));
    assert_eq!(ask(&disk, cold).recv().unwrap(), Ok(()));
}

/// An image whose reads end well only when two are made at the same time.
#[derive(Default)]
struct Pairs {
    inside: Mutex<u32>,
    both: Condvar,
}

impl Image for Pairs {
    fn len(&self) -> u64 {
        1 << 30
    }

    fn read(&self, _: u64, _: &Target<'_>, _: Wait) -> io::Result<()> {
        let mut inside = self.inside.lock();
        *inside += 1;
        self.both.notify_all();
        let alone = |inside: &mut u32| *inside < 2;
        let waited = self.both.wait_while_for(&mut inside, alone, Duration::from_secs(10));
        if waited.timed_out() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    fn extent(&self, _: u64, len: u64) -> io::Result<Extent> {
        Ok(Extent { len, kind: ExtentKind::Unallocated, depth: 0 })
    }

    fn write(&self, _: u64, _: &Source<'_>) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn long_transfers_that_wait_together_are_copied_side_by_side() {
    let disk = of(Arc::<Pairs>::default(), None);
    let (sender, receiver) = channel();
    let requests = (0..2).map(|_| {
        let sender = sender.clone();
        let done = Box::new(move |result, _: Option<Data>| sender.send(result).unwrap());
        BlockRequest { operation: read(LONG), done }
    });
    disk.submit_all(requests.collect());
    assert_eq!([receiver.recv(), receiver.recv()], [Ok(Ok(())), Ok(Ok(()))]);
}

#[test]
fn what_was_asked_for_is_done_before_the_end() {
    let disk = disk(0, None);
    let answers: Vec<_> = (0..1000).map(|_| ask(&disk, write())).collect();
    drop(disk);
    answers.iter().for_each(|answer| assert_eq!(answer.try_recv().unwrap(), Ok(())));
}
