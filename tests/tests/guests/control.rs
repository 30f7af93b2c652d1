//! The control socket: each command by QEMU's own client library and by `emu ctl`, and clients that mean no good.

use crate::{PATIENCE, beside_others, clocks};
use emu_tests::emulator::{Emulator, guest_or_skip, skip};
use emu_tests::session::Session;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Command,
};
use xtask::guests::{Guest, Variant};

/// A guest with a shell, and its control socket.
fn guest_with_control(folder: &Path) -> Option<Session> {
    let files = guest_or_skip(Guest::LinuxCloud)?;
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Shell))
        .option("--cpus", "2")
        .option("--control", folder.join("control"))
        .start_on_terminal();
    guest.expect("emu-guest: ready", PATIENCE);
    guest.expect("# ", PATIENCE);
    Some(guest)
}

/// `emu ctl` with the socket in `folder`: its exit code, and what it printed.
fn ctl(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let emulator = Emulator::ctl(&folder.join("control"));
    let output = words.iter().fold(emulator, |emulator, word| emulator.flag(word)).output();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Python with `qemu.qmp`; or why there is none.
fn python_with_qmp(folder: &Path) -> Result<String, String> {
    let venv = folder.join("venv");
    let run = |program: &str, arguments: &[&str]| match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned())
        }
        Err(error) => Err(format!("{program}: {error}")),
    };
    run("python3", &["-m", "venv", &venv.display().to_string()])?;
    let python = venv.join("bin/python").display().to_string();
    run(&python, &["-m", "pip", "install", "-q", "qemu.qmp"])?;
    Ok(python)
}

const CLIENT: &str = r#"
import asyncio, os, sys
from qemu.qmp import QMPClient, EventListener, ExecuteError

async def main():
    qmp = QMPClient('test')
    events = EventListener()
    qmp.register_listener(events)
    await qmp.connect(sys.argv[1])
    async def expect(name):
        while True:
            event = await asyncio.wait_for(events.get(), 60)
            assert event['timestamp']['seconds'] > 1600000000
            if event['event'] == name:
                return event
    names = {c['name'] for c in await qmp.execute('query-commands')}
    assert (await qmp.execute('query-status'))['status'] == 'running'
    assert 'qemu' in await qmp.execute('query-version')
    await qmp.execute('stop'); await expect('STOP')
    assert await qmp.execute('query-status') == {'running': False, 'status': 'paused'}
    cpus = await qmp.execute('query-cpus-fast')
    assert [c['cpu-index'] for c in cpus] == [0, 1]
    assert all(os.path.exists('/proc/%d' % c['thread-id']) for c in cpus)
    registers = await qmp.execute('query-registers', {'cpu-index': 1})
    assert int(registers['rip'], 16) and int(registers['cr0'], 16) & 1 << 31
    base = int((await qmp.execute('query-registers'))['idtr']['base'], 16)
    await qmp.execute('memsave', {'val': base, 'size': 5000, 'filename': sys.argv[2]})
    assert len(set(open(sys.argv[2], 'rb').read())) > 10
    accel = await qmp.execute('query-accel')
    assert accel['engine'] in ('kvm', 'jit', 'interp')
    await qmp.execute('set-accel', {'engine': 'interp'})
    assert (await qmp.execute('query-accel'))['engine'] == 'interp'
    await qmp.execute('set-accel', {'engine': accel['engine']})
    await qmp.execute('pmemsave', {'val': 0x1000, 'size': 4096, 'filename': sys.argv[2]})
    assert os.path.getsize(sys.argv[2]) == 4096
    for name, arguments in [('memsave', {}), ('query-balloon', {}), ('balloon', {'value': 1 << 26}), ('nonsense', {}),
                            ('query-registers', {'cpu-index': 7}), ('set-accel', {'engine': 'tcg'})]:
        try:
            await qmp.execute(name, arguments)
        except ExecuteError:
            continue
        raise AssertionError(name)
    await qmp.execute('cont'); await expect('RESUME')
    await qmp.execute('system_powerdown'); await expect('POWERDOWN')
    await qmp.execute('system_reset')
    assert (await expect('RESET'))['data'] == {'guest': False, 'reason': 'host-qmp-system-reset'}
    await qmp.execute('quit')
    assert (await expect('SHUTDOWN'))['data']['guest'] is False
    tried = {'query-status', 'query-version', 'stop', 'cont', 'query-cpus-fast', 'query-registers', 'memsave', 'pmemsave',
             'query-commands', 'query-balloon', 'balloon', 'query-accel', 'set-accel', 'system_powerdown', 'system_reset', 'quit', 'qmp_capabilities'}
    assert names == tried, names ^ tried
    print('all of it works')

asyncio.run(main())
"#;

#[test]
fn the_client_of_qemu_issues_every_command_and_receives_events() {
    let folder = tempfile::tempdir().unwrap();
    let python = match python_with_qmp(folder.path()) {
        Ok(python) => python,
        Err(reason) => return skip(&format!("qemu.qmp cannot be had: {reason}")),
    };
    let _host = beside_others();
    let Some(guest) = guest_with_control(folder.path()) else { return };
    let client = folder.path().join("client.py");
    fs::write(&client, CLIENT).unwrap();
    let output = Command::new(python)
        .args([&client, &folder.path().join("control"), &folder.path().join("memory")])
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("all of it works"), "{said}");
    guest.finish(0, PATIENCE);
    assert!(!folder.path().join("control").exists());
}

#[test]
fn the_socket_is_its_users_and_bad_clients_do_not_disturb_the_guest() {
    let folder = tempfile::tempdir().unwrap();
    let _host = beside_others();
    let Some(mut guest) = guest_with_control(folder.path()) else { return };
    let socket = folder.path().join("control");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let mut endless = UnixStream::connect(&socket).unwrap();
    let refused = (0..10_000).any(|_| endless.write_all(&[b'['; 65536]).is_err());
    assert!(refused, "a line without an end was taken");
    let mut deaf = UnixStream::connect(&socket).unwrap();
    deaf.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    while deaf.write_all(b"{\"execute\":\"query-commands\"}\n").is_ok() {}
    let mut noisy = UnixStream::connect(&socket).unwrap();
    let mut lines = BufReader::new(noisy.try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("QMP"));
    for line in ["stop", "{}", "[1]", "\u{1}", r#"{"execute":"stop"}"#] {
        noisy.write_all(format!("{line}\n").as_bytes()).unwrap();
        assert!(lines.next().unwrap().unwrap().contains("error"), "{line}");
    }

    assert_eq!(ctl(folder.path(), &["query-status"]).0, Some(0));
    let (code, said) = ctl(folder.path(), &["query-registers", "cpu-index=9"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no processor 9; there are 2"), "{said}");
    assert_eq!(ctl(folder.path(), &["nonsense"]).0, Some(2));
    guest.send("echo $((6 * 7))\r");
    guest.expect("\n42", PATIENCE);
    assert_eq!(ctl(folder.path(), &["quit"]).0, Some(0));
    guest.finish(0, PATIENCE);
    assert_eq!(ctl(folder.path(), &["query-status"]).0, Some(2));
}

/// Pauses of the guest while it measures.
const PAUSES: u32 = 200;

#[test]
fn two_hundred_pauses_are_not_seen_by_the_guests_clocks_and_lose_no_timer() {
    let folder = tempfile::tempdir().unwrap();
    let _host = beside_others();
    let Some(mut guest) = guest_with_control(folder.path()) else { return };
    clocks::watch(&mut guest);
    let mut stream = UnixStream::connect(folder.path().join("control")).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let mut ask = |name: &str| {
        stream.write_all(format!("{{\"execute\":\"{name}\"}}\n").as_bytes()).unwrap();
        lines.by_ref().find(|line| line.contains("\"return\"")).unwrap();
    };
    ask("qmp_capabilities");
    for pause in 0..PAUSES {
        ask("stop");
        // The last one would be seen if any were.
        std::thread::sleep(std::time::Duration::from_millis(if pause + 1 == PAUSES { 8000 } else { 20 }));
        ask("cont");
        std::thread::sleep(std::time::Duration::from_millis(u64::from(pause % 7) * 3));
    }
    clocks::assert_steady(&mut guest);
    guest.send("poweroff\r");
    guest.finish(0, PATIENCE);
}
