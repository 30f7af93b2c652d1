//! Traces: what vCPUs execute, which interrupts they take, what they translate, and their I/O, as lines of text.
//!
//! A line starts with the number of the vCPU. Several traces may go to one file; each line is written whole.

use crate::{config::TraceKind, console::ByteSink};
use emu_core::cpu::{Trace, TraceView};
use iced_x86::{Decoder, DecoderOptions, FastFormatter};
use std::fmt::{self, Write};

/// The files of one kind of trace.
#[derive(Clone)]
pub struct TraceOutput(Vec<ByteSink>);

impl TraceOutput {
    /// Writes one line.
    pub fn line(&self, text: fmt::Arguments<'_>) {
        let mut line = text.to_string();
        line.push('\n');
        self.send(&line);
    }

    fn send(&self, line: &str) {
        for sink in &self.0 {
            sink.send(line.as_bytes());
        }
    }
}

/// All traces that were asked for.
pub struct Traces(Vec<(TraceKind, ByteSink)>);

impl Traces {
    /// Traces to these files.
    pub fn new(outputs: Vec<(TraceKind, ByteSink)>) -> Self {
        Traces(outputs)
    }

    fn output(&self, kind: TraceKind) -> Option<TraceOutput> {
        let of_kind = self.0.iter().filter(|(other, _)| *other == kind);
        let sinks: Vec<_> = of_kind.map(|(_, sink)| sink.clone()).collect();
        (!sinks.is_empty()).then_some(TraceOutput(sinks))
    }

    /// The trace of port and MMIO accesses.
    pub fn io(&self) -> Option<TraceOutput> {
        self.output(TraceKind::Io)
    }

    /// The traces that a vCPU writes itself, if there are any.
    pub fn of_vcpu(&self) -> Option<Box<dyn Trace>> {
        let [exec, interrupts, mmu] =
            [TraceKind::Exec, TraceKind::Interrupts, TraceKind::Mmu].map(|kind| self.output(kind));
        if exec.is_none() && interrupts.is_none() && mmu.is_none() {
            return None;
        }
        Some(Box::new(VcpuTrace { exec, interrupts, mmu, line: String::new() }))
    }
}

/// The traces of one vCPU.
struct VcpuTrace {
    exec: Option<TraceOutput>,
    interrupts: Option<TraceOutput>,
    mmu: Option<TraceOutput>,
    /// The line being made, kept for its buffer.
    line: String,
}

impl VcpuTrace {
    /// `vcpu cs:rip bytes disassembly`.
    fn describe(&mut self, cpu: &TraceView<'_>) -> fmt::Result {
        /// Width of the longest usual instruction's bytes.
        const BYTES_WIDTH: usize = 16;
        let mut decoder = Decoder::with_ip(cpu.bitness, cpu.bytes, cpu.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let len = instruction.len().min(cpu.bytes.len());
        self.line.clear();
        write!(self.line, "{} {:04x}:{:016x} ", cpu.vcpu, cpu.cs, cpu.rip)?;
        for byte in &cpu.bytes[..len] {
            write!(self.line, "{byte:02x}")?;
        }
        write!(self.line, "{:width$} ", "", width = BYTES_WIDTH.saturating_sub(2 * len))?;
        // Made anew because it cannot go from thread to thread; it is a few words.
        FastFormatter::new().format(&instruction, &mut self.line);
        self.line.push('\n');
        Ok(())
    }
}

impl Trace for VcpuTrace {
    fn wants_execution(&self) -> bool {
        self.exec.is_some()
    }

    fn executing(&mut self, cpu: TraceView<'_>) {
        // Writing to a string does not fail.
        if self.describe(&cpu).is_ok()
            && let Some(exec) = &self.exec
        {
            exec.send(&self.line);
        }
    }

    fn interrupt(&mut self, vcpu: usize, vector: u8, kind: &str, error: Option<u32>, cs: u16, rip: u64) {
        if let Some(interrupts) = &self.interrupts {
            let error = error.map_or_else(String::new, |error| format!(" error {error:#x}"));
            interrupts.line(format_args!("{vcpu} {kind} {vector:#04x}{error} at {cs:04x}:{rip:016x}"));
        }
    }

    fn translated(&mut self, vcpu: usize, linear: u64, physical: u64) {
        if let Some(mmu) = &self.mmu {
            mmu.line(format_args!("{vcpu} fill {linear:#018x} -> {physical:#012x}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::arch::Flags;
    use parking_lot::Mutex;
    use std::{io, sync::Arc};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_event_is_a_line_in_the_file_of_its_kind() {
        let files = [Written::default(), Written::default()];
        let [exec, rest] = files.each_ref().map(|file| ByteSink::to_writer("t", file.clone()).unwrap());
        let traces = Traces::new(vec![
            (TraceKind::Exec, exec.clone()),
            (TraceKind::Interrupts, rest.clone()),
            (TraceKind::Mmu, rest.clone()),
        ]);
        let mut trace = traces.of_vcpu().unwrap();

        trace.executing(TraceView {
            vcpu: 1,
            cs: 0x10,
            rip: 0x1000,
            rflags: Flags::FIXED,
            gpr: &[0; 16],
            bytes: &[0x48, 0x89, 0xD8, 0x90, 0x90],
            bitness: 64,
        });
        trace.interrupt(0, 14, "exception", Some(2), 8, 0x2000);
        trace.translated(0, 0x3000, 0x4000);
        exec.drain(None);
        rest.drain(None);

        let [exec, rest] = files.map(|file| String::from_utf8(file.0.lock().clone()).unwrap());
        assert_eq!(exec, "1 0010:0000000000001000 4889d8           mov rax,rbx\n");
        let expected = "0 exception 0x0e error 0x2 at 0008:0000000000002000\n\
                        0 fill 0x0000000000003000 -> 0x0000004000\n";
        assert_eq!(rest, expected);
        assert!(traces.io().is_none());
    }

    #[test]
    fn nothing_is_traced_unasked() {
        assert!(Traces::new(vec![]).of_vcpu().is_none());
    }
}
