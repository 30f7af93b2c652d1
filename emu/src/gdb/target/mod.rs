//! What gdbstub asks for: the machine as gdb sees it. Going on, and where to stop: [`execution`].

mod execution;

use super::{
    description,
    memory::{self, Space},
    mode::CodeMode,
    monitor::{self, Selection},
    registers::{REGISTERS, View, from_bytes},
};
use crate::machine::{
    Machine, MachineHandle,
    debug::{Action, BreakpointKind, DebugPort, Reason, StopPoints, Stopped, Watch},
};
use emu_core::state::Activity;
use gdbstub::{
    arch::{Arch, RegId, Registers},
    common::{Signal, Tid},
    stub::MultiThreadStopReason,
    target::{
        Target, TargetError, TargetResult,
        ext::{
            base::{
                BaseOps,
                multithread::{MultiThreadBase, MultiThreadResumeOps},
                single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps},
            },
            breakpoints::{BreakpointsOps, WatchKind},
            monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps},
            target_description_xml_override::{
                TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
            },
            thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps},
        },
    },
};
use std::{
    num::NonZeroUsize,
    sync::{Arc, mpsc},
};

/// The machine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine has ended")]
pub struct Ended;

/// Why gdb is told that the machine has stopped.
pub type StopReason = MultiThreadStopReason<u64>;

/// x86 in all its modes. See [`registers`](super::registers).
pub enum X86 {}

/// All registers, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisterBytes(Vec<u8>);

/// The number of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterNumber(usize);

impl Arch for X86 {
    type Usize = u64;
    type Registers = RegisterBytes;
    type BreakpointKind = usize;
    type RegId = RegisterNumber;
}

impl Registers for RegisterBytes {
    type ProgramCounter = u64;

    // Only breakpoints in the guest's memory would need it, and there are none.
    fn pc(&self) -> u64 {
        0
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().for_each(|byte| write_byte(Some(*byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

impl RegId for RegisterNumber {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        Some((RegisterNumber(id), NonZeroUsize::new(REGISTERS.get(id)?.bytes())))
    }
}

/// The machine, for one session.
pub struct GdbTarget {
    machine: MachineHandle,
    port: Arc<DebugPort>,
    points: StopPoints,
    /// For threads that `actions` does not name.
    others: Action,
    actions: Vec<(usize, Action)>,
    selection: Selection,
    /// It has been let go on by this session.
    pub has_run: bool,
}

fn vcpu_of(thread: Tid) -> usize {
    thread.get() - 1
}

fn thread_of(vcpu: usize) -> Tid {
    NonZeroUsize::MIN.saturating_add(vcpu)
}

/// A request that cannot be met; gdb's user hears of it.
fn refused<T>(result: Option<T>) -> TargetResult<T, GdbTarget> {
    result.ok_or(TargetError::NonFatal)
}

impl GdbTarget {
    /// `machine`, which goes on and stops by `port`.
    pub fn new(machine: MachineHandle, port: Arc<DebugPort>) -> GdbTarget {
        GdbTarget {
            machine,
            port,
            points: StopPoints::default(),
            others: Action::Continue,
            actions: Vec::new(),
            selection: Selection::default(),
            has_run: false,
        }
    }

    /// Has the machine's thread do `work` while all vCPUs stand.
    pub fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (answer, answers) = mpsc::channel();
        self.machine.while_standing(move |machine| {
            // Whoever has asked is waiting.
            let _ = answer.send(work(machine));
        });
        answers.recv().map_err(|_| Ended)
    }

    /// Stops the machine.
    pub fn hold(&self) {
        self.port.hold();
    }

    /// Ends the machine.
    pub fn kill(&self) {
        self.machine.quit();
    }

    /// The session is over: forgets what it wanted. With `release` the machine goes on.
    pub fn leave(&self, release: bool) -> Result<(), Ended> {
        let port = self.port.clone();
        self.ask(move |_| port.forget(release))
    }

    /// Why the machine stands, which it does because of a vCPU, or because the user has interrupted it.
    pub fn stop_reason(&mut self) -> Result<StopReason, Ended> {
        let port = self.port.clone();
        let stopped = self.ask(move |_| port.take_stopped())?;
        let vcpu = stopped.map_or(self.selection.vcpu, |stopped| stopped.vcpu);
        self.selection.vcpu = vcpu;
        let tid = thread_of(vcpu);
        Ok(match stopped.map(|Stopped { reason, .. }| reason) {
            None => StopReason::SignalWithThread { tid, signal: Signal::SIGINT },
            Some(Reason::Stepped) => StopReason::SignalWithThread { tid, signal: Signal::SIGTRAP },
            Some(Reason::Breakpoint(BreakpointKind::Software)) => StopReason::SwBreak(tid),
            Some(Reason::Breakpoint(BreakpointKind::Hardware)) => StopReason::HwBreak(tid),
            Some(Reason::Watchpoint(watch, addr)) => {
                let kind = match watch {
                    Watch::Writes => WatchKind::Write,
                    Watch::Reads => WatchKind::Read,
                    Watch::Accesses => WatchKind::ReadWrite,
                };
                StopReason::Watch { tid, kind, addr }
            }
        })
    }

    fn space(&self, thread: Tid) -> Space {
        if self.selection.physical { Space::Physical } else { Space::Linear(vcpu_of(thread)) }
    }

    fn view(&self, thread: Tid) -> TargetResult<View, Self> {
        let vcpu = vcpu_of(thread);
        refused(self.ask(move |machine| view(machine, vcpu)).map_err(TargetError::Fatal)?)
    }

    /// Changes the registers of `thread` by `change`, which may refuse.
    fn change(
        &mut self,
        thread: Tid,
        change: impl FnOnce(&mut View) -> Option<()> + Send + 'static,
    ) -> TargetResult<(), Self> {
        let vcpu = vcpu_of(thread);
        let work = move |machine: &mut Machine| {
            let mut view = view(machine, vcpu)?;
            change(&mut view)?;
            machine.change_state(vcpu, view.state, view.task_priority);
            Some(())
        };
        refused(self.ask(work).map_err(TargetError::Fatal)?)
    }
}

/// Registers of vCPU number `vcpu`.
pub fn view(machine: &Machine, vcpu: usize) -> Option<View> {
    let state = machine.states().get(vcpu)?.clone();
    Some(View { state, task_priority: machine.task_priority(vcpu) })
}

impl Target for GdbTarget {
    type Arch = X86;
    type Error = Ended;

    fn base_ops(&mut self) -> BaseOps<'_, X86, Ended> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl TargetDescriptionXmlOverride for GdbTarget {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        refused((annex == b"target.xml").then_some(()))?;
        let vcpu = self.selection.vcpu;
        let mode = self.ask(move |machine| machine.states().get(vcpu).map(CodeMode::of));
        let xml = description::target_xml(refused(mode.map_err(TargetError::Fatal)?)?);
        let rest = usize::try_from(offset).ok().and_then(|offset| xml.as_bytes().get(offset..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(length).min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl MultiThreadBase for GdbTarget {
    fn read_registers(&mut self, regs: &mut RegisterBytes, tid: Tid) -> TargetResult<(), Self> {
        regs.0 = self.view(tid)?.to_bytes();
        Ok(())
    }

    fn write_registers(&mut self, regs: &RegisterBytes, tid: Tid) -> TargetResult<(), Self> {
        let bytes = regs.0.clone();
        self.change(tid, move |view| view.write_bytes(&bytes))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start_addr: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let (space, len) = (self.space(tid), data.len());
        let read = self.ask(move |machine| {
            let mut bytes = vec![0; len];
            let count = memory::read(machine, space, start_addr, &mut bytes);
            bytes.truncate(count);
            bytes
        });
        let bytes = read.map_err(TargetError::Fatal)?;
        data[..bytes.len()].copy_from_slice(&bytes);
        refused((!bytes.is_empty() || len == 0).then_some(bytes.len()))
    }

    fn write_addrs(&mut self, start_addr: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let (space, bytes) = (self.space(tid), data.to_vec());
        let written = self.ask(move |machine| memory::write(machine, space, start_addr, &bytes));
        refused(written.map_err(TargetError::Fatal)?.then_some(()))
    }

    fn list_active_threads(&mut self, thread_is_active: &mut dyn FnMut(Tid)) -> Result<(), Ended> {
        (0..self.machine.cpus() as usize).map(thread_of).for_each(thread_is_active);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl ThreadExtraInfo for GdbTarget {
    fn thread_extra_info(&self, tid: Tid, buf: &mut [u8]) -> Result<usize, Ended> {
        let vcpu = vcpu_of(tid);
        let text = self.ask(move |machine| {
            let state = machine.states().get(vcpu)?;
            let activity = match state.events.activity {
                Activity::Active => "",
                Activity::Halted => ", halted",
                Activity::Shutdown => ", shut down",
                Activity::WaitForStartup => ", waits for its start-up",
            };
            Some(format!("CPU {vcpu}, {}{activity}", CodeMode::of(state).name()))
        })?;
        let text = text.unwrap_or_default();
        let count = text.len().min(buf.len());
        buf[..count].copy_from_slice(&text.as_bytes()[..count]);
        Ok(count)
    }
}

impl SingleRegisterAccess<Tid> for GdbTarget {
    fn read_register(
        &mut self,
        tid: Tid,
        RegisterNumber(number): RegisterNumber,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let register = refused(REGISTERS.get(number))?;
        let value = self.view(tid)?.read(register.place).to_le_bytes();
        let place = refused(buf.get_mut(..register.bytes()))?;
        place.copy_from_slice(&value[..register.bytes()]);
        Ok(register.bytes())
    }

    fn write_register(
        &mut self,
        tid: Tid,
        RegisterNumber(number): RegisterNumber,
        val: &[u8],
    ) -> TargetResult<(), Self> {
        let register = refused(REGISTERS.get(number).filter(|register| register.bytes() == val.len()))?;
        let value = from_bytes(val);
        self.change(tid, move |view| view.write(register.place, value))
    }
}

impl MonitorCmd for GdbTarget {
    fn handle_monitor_cmd(&mut self, cmd: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), Ended> {
        let command = String::from_utf8_lossy(cmd).into_owned();
        let (mut selection, handle) = (self.selection, self.machine.clone());
        let (text, selection) = self.ask(move |machine| {
            let text = monitor::execute(&command, machine, &handle, &mut selection);
            (text, selection)
        })?;
        self.selection = selection;
        out.write_raw(text.as_bytes());
        Ok(())
    }
}
