//! Disk controllers: registers and queues on the guest's side, a `BlockBackend` on the other.

pub mod nvme;
