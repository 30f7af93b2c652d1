//! Ports, devices in memory, and stopping from outside.

use super::{CODE, kernel};
use emu_harness::sandbox::{
    Error, Exit, MmioAccess, Mode, Paging, PortAccess, Prot, Sandbox, Unmapped, Until,
};
use iced_x86::code_asm::*;
use std::sync::{Arc, Mutex};

#[test]
fn a_device_answers_on_its_ports_and_may_stop_the_run() {
    let mut sandbox = kernel(|a| {
        a.mov(edx, 0x3F8)?;
        a.mov(eax, 0x41)?;
        a.out(dx, al)?;
        a.in_(al, dx)?;
        a.mov(ebx, eax)?;
        a.in_(eax, 0x60)?;
        a.out(0xF4, al)?;
        a.mov(ebx, 0)
    });
    let written = Arc::new(Mutex::new(Vec::new()));
    let log = written.clone();
    sandbox.on_port(0x3F8..=0x3FF, move |access| match access {
        PortAccess::In { .. } => 0x5A,
        PortAccess::Out { size, value, .. } => {
            log.lock().unwrap().push((size, value));
            0
        }
    });
    let line = sandbox.line();
    sandbox.on_port(0xF4..=0xF4, move |_| {
        line.stop();
        0
    });
    assert_eq!(sandbox.run(Until::forever()), Exit::Stopped);
    assert_eq!(*written.lock().unwrap(), [(1, 0x41)]);
    assert_eq!(sandbox.reg("rbx").unwrap(), 0x5A);
    assert_eq!(sandbox.reg("rax").unwrap(), 0xFFFF_FFFF, "nobody is at port 60h");
}

#[test]
fn a_device_in_memory_answers_loads_and_stores() {
    let mut sandbox = kernel(|a| {
        a.mov(rsi, 0xFEC0_0000u64)?;
        a.mov(dword_ptr(rsi), 7)?;
        a.add(dword_ptr(rsi + 0x10), 1)?;
        a.mov(rax, qword_ptr(rsi + 8))?;
        a.hlt()
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let device = sandbox.on_mmio(0xFEC0_0000, 0x1000, move |access| {
        log.lock().unwrap().push(access);
        0x29
    });
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!(sandbox.reg("rax").unwrap(), 0x29);
    let expected = [
        MmioAccess::Write { offset: 0, size: 4, value: 7 },
        MmioAccess::Read { offset: 0x10, size: 4 },
        MmioAccess::Write { offset: 0x10, size: 4, value: 0x2A },
        MmioAccess::Read { offset: 8, size: 8 },
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert!(sandbox.remove(device.unwrap()));
    sandbox.run_from(CODE, Until::forever());
    assert_eq!(sandbox.reg("rax").unwrap(), u64::MAX);
}

#[test]
fn without_paging_a_device_is_where_there_is_no_ram() {
    let mut sandbox = Sandbox::builder(Mode::Protected32).paging(Paging::Off).build().unwrap();
    sandbox.map(CODE, 0x1000, Prot::RX).unwrap();
    sandbox.on_mmio(0xB_8000, 0x1000, |_| 0x0741).unwrap();
    sandbox.on_mmio(0xFEE0_0000, 0x1000, |_| 0x50014).unwrap();
    assert!(matches!(sandbox.on_mmio(0x10_0000, 0x1000, |_| 0), Err(Error::IsRam(0x10_0000))));
    assert!(matches!(sandbox.map(0xA_0000, 0x1000, Prot::R), Err(Error::NotRam(0xA_0000))));
    let code = super::assemble(32, CODE, |a| {
        a.movzx(eax, word_ptr(0xB_8000))?;
        a.mov(ebx, dword_ptr(0xFEE0_0030u32))?;
        a.mov(ecx, dword_ptr(0xFEC0_0000u32))
    });
    sandbox.write_memory(CODE, &code).unwrap();
    let exit = sandbox.run_from(CODE, Until::forever());
    assert!(
        matches!(exit, Exit::Unmapped(Unmapped { address: 0xFEC0_0000, protected: false, .. })),
        "{exit:?}"
    );
    assert_eq!((sandbox.reg("eax").unwrap(), sandbox.reg("ebx").unwrap()), (0x741, 0x50014));
}

#[test]
fn another_thread_stops_a_guest_that_would_never_end() {
    let mut sandbox = kernel(|a| {
        let mut here = a.create_label();
        a.set_label(&mut here)?;
        a.jmp(here)
    });
    let line = sandbox.line();
    let other = std::thread::spawn(move || line.stop());
    assert_eq!(sandbox.run(Until::forever()), Exit::Stopped);
    other.join().unwrap();
}
