//! Enabling, disabling, shutting down, deleting queues, saving: with requests at the disk.

use super::*;
use emu_core::bus::Snapshot;

const READY: u32 = 1;
const FATAL: u32 = 2;
const SHUTTING_DOWN: u32 = 4;
const SHUT_DOWN: u32 = 8;

#[test]
fn registers_are_as_the_specification_has_them() {
    let bench = Bench::new();
    let nvme = &bench.nvme;
    assert_eq!((bench.read(0), bench.read(4), bench.read(8)), (0x7801_03FF, 0x0040_0020, 0x0001_0400));
    assert_eq!(nvme.lock().mmio_read(BAR, 2, 1).unwrap(), 0x01, "a byte of it");
    assert!(nvme.lock().mmio_read(BAR, 0, 8).is_err(), "the bus halves it");
    bench.write(0x28, 0x1234_5FFF);
    bench.write(0x2C, 1);
    assert_eq!((bench.read(0x28), bench.read(0x2C)), (0x1234_5000, 1));
    assert_eq!(bench.status(), 0);
}

#[test]
fn a_configuration_without_sense_is_fatal_until_reset() {
    let mut bench = Bench::new();
    bench.write(0x14, ENABLED);
    assert_eq!(bench.status(), FATAL, "queues of one entry");
    bench.write(0x14, 0);
    assert_eq!(bench.status(), 0);
    bench.enable();
    assert_eq!(bench.status(), READY);
    bench.write(0x14, 0);
    bench.write(0x14, ENABLED | 1 << 4);
    assert_eq!(bench.status(), FATAL, "no such command set");
}

#[test]
fn queues_outside_of_memory_are_fatal() {
    for registers in
        [[(0x28, 0xF000_0000_u32), (0x30, ACQ as u32)], [(0x28, ASQ as u32), (0x30, 0xF000_0000)]]
    {
        let mut bench = Bench::enabled();
        bench.write(0x14, 0);
        registers.iter().for_each(|(register, value)| bench.write(*register, *value));
        bench.write(0x14, ENABLED);
        bench.submit(0, &[command(6, &[(6, DATA as u32), (10, 1)])]);
        assert_eq!(bench.status(), READY | FATAL);
        bench.write(0x14, 0);
        bench.enable();
        assert_eq!(bench.admin(command(6, &[(6, DATA as u32), (10, 1)])).status, 0);
    }
}

#[test]
fn a_disabled_controller_is_ready_until_the_disk_is_done() {
    let mut bench = Bench::running();
    bench.submit(1, &[blocks(2, 0, 1), blocks(2, 1, 1)]);
    bench.write(0x14, ENABLED & !1);
    bench.disk.finish(1);
    assert_eq!(bench.status(), READY);
    bench.disk.finish(0);
    assert_eq!((bench.status(), bench.look(1).len()), (0, 0), "nobody hears of them");
    bench.enable();
    bench.make_queues(1, 8);
    assert_eq!(bench.io(blocks(2, 0, 1)), 0);
}

#[test]
fn a_host_that_does_not_wait_gets_its_controller_later() {
    let mut bench = Bench::running();
    bench.submit(1, &[blocks(2, 0, 1)]);
    bench.write(0x14, ENABLED & !1);
    bench.enable();
    bench.submit(0, &[command(6, &[(6, DATA as u32), (10, 1)])]);
    assert!(bench.look(0).is_empty());
    bench.disk.finish_all();
    assert_eq!(bench.status(), READY);
    bench.enable();
    assert_eq!(bench.admin(command(6, &[(6, DATA as u32), (10, 1)])).status, 0);
}

#[test]
fn after_reset_late_completions_are_nobodys() {
    let mut bench = Bench::running();
    bench.submit(1, &[blocks(2, 0, 1), blocks(5, 0, 1)]);
    bench.nvme.lock().reset();
    assert_eq!(bench.status(), 0);
    bench.configure(pci_reg::COMMAND as u16, 2, pci_command::MEMORY | pci_command::BUS_MASTER);
    bench.enable();
    assert_eq!(bench.status(), 0, "requests of the life before are at the disk");
    bench.disk.finish_all();
    assert_eq!(bench.status(), READY);
    bench.use_messages();
    bench.make_queues(1, 8);
    assert_eq!(bench.io(blocks(2, 0, 1)), 0);
}

#[test]
fn shutdown_ends_with_a_flush_of_everything() {
    let mut bench = Bench::running();
    bench.submit(1, &[blocks(1, 0, 1)]);
    bench.write(0x14, ENABLED | 1 << 14);
    assert_eq!((bench.status(), bench.disk.waiting()), (READY | SHUTTING_DOWN, 1));
    bench.disk.finish(0);
    assert_eq!(bench.status(), READY | SHUTTING_DOWN);
    bench.disk.finish(0);
    assert_eq!(bench.status(), READY | SHUT_DOWN);
    assert_eq!(*bench.disk.done.lock(), ["write 0 512", "flush"]);
    bench.write(0x14, 0);
    bench.enable();
    assert_eq!(bench.status(), READY);
}

#[test]
fn a_submission_queue_is_deleted_after_its_last_command() {
    let mut bench = Bench::running();
    let ids = bench.submit(1, &[blocks(2, 0, 1), blocks(2, 1, 1)]);
    let deletion = bench.submit(0, &[command(0, &[(10, 1)])]);
    bench.disk.finish(1);
    assert!(bench.look(0).is_empty());
    bench.submit(1, &[blocks(2, 2, 1)]);
    assert_eq!(bench.disk.waiting(), 1, "nothing more is taken");
    bench.disk.finish(0);
    let ended: Vec<u16> = bench.reap(1).iter().map(|entry| entry.id).collect();
    assert_eq!(ended, [ids[1], ids[0]]);
    assert_eq!(bench.reap(0), [Entry { result: 0, id: deletion[0], status: 0 }]);
    assert_eq!(bench.admin(command(4, &[(10, 1)])).status, 0, "its completion queue can go now");
    bench.make_queues(1, 8);
    assert_eq!(bench.io(blocks(2, 0, 1)), 0);
}

#[test]
fn without_bus_mastering_nothing_is_fetched_or_posted() {
    let mut bench = Bench::running();
    bench.submit(1, &[blocks(2, 0, 1)]);
    bench.configure(pci_reg::COMMAND as u16, 2, pci_command::MEMORY);
    bench.submit(1, &[blocks(2, 1, 1)]);
    bench.disk.finish_all();
    assert_eq!((bench.look(1).len(), bench.disk.done.lock().len()), (0, 1));
    bench.configure(pci_reg::COMMAND as u16, 2, pci_command::MEMORY | pci_command::BUS_MASTER);
    bench.disk.finish_all();
    assert_eq!((bench.reap(1).len(), bench.disk.done.lock().len()), (2, 2));
}

/// The same registers in another controller, and the same driver in front of it.
fn restored(bench: &mut Bench) {
    let state = bench.nvme.lock().save();
    bench.disk = Arc::new(Disk::new(64 << 10));
    let args = Bench::args(&bench.dma, &bench.disk, &bench.messages, &bench.wire);
    let copy = Nvme::restore(args, state.clone()).unwrap();
    assert_eq!(copy.save().clone(), {
        let mut state = state;
        state.forget_counts();
        state
    });
    bench.nvme = copy.connect();
}

#[test]
fn a_restored_controller_does_again_what_was_at_the_disk() {
    let mut bench = Bench::running();
    assert_eq!(bench.io(blocks(2, 0, 1)), 0);
    let ids = bench.submit(1, &[blocks(2, 5, 1), blocks(5, 0, 1)]);
    let deletion = bench.submit(0, &[command(0, &[(10, 1)])]);
    restored(&mut bench);
    assert_eq!(bench.disk.waiting(), 2);
    bench.disk.finish_all();
    let ended: Vec<u16> = bench.reap(1).iter().map(|entry| entry.id).collect();
    assert_eq!(ended, ids);
    assert_eq!(bench.reap(0)[0].id, deletion[0]);
}

#[test]
fn a_shutdown_goes_on_after_restore() {
    let mut bench = Bench::running();
    bench.write(0x14, ENABLED | 1 << 14);
    restored(&mut bench);
    bench.disk.finish_all();
    assert_eq!(bench.status(), READY | SHUT_DOWN);
}

#[test]
fn states_without_sense_are_refused() {
    let bench = Bench::running();
    let state = bench.nvme.lock().save();
    let mut args = Bench::args(&bench.dma, &bench.disk, &bench.messages, &bench.wire);
    args.options.queues = 3;
    assert!(Nvme::restore(args, state).is_err(), "queues of another controller");
}
