//! The work that is timed.

use std::{
    ffi::{CStr, CString},
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
    ptr::{null, null_mut},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// Files of a chunk of opens: each is opened once in it.
const FEW: u32 = 250;
/// Files that a paced run goes round: a second's worth.
const MANY: u32 = 100_000;
/// Files of one folder.
const A_FOLDER: u32 = 1000;
/// Folders that all works together open files of; those of timed chunks lie in the first.
pub(crate) const FOLDERS: u32 = MANY / A_FOLDER;

/// A kind of work: its name, what a person reads, how often it is done in one timed chunk.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) times: u32,
    act: fn(&Bench, u32) -> Result<()>,
}

/// All of them, in the table's order.
pub(crate) const ALL: &[Work] = &[
    Work { name: "open", title: "open + close, distinct paths of 5 names", times: FEW, act: Bench::open },
    Work {
        name: "open-same",
        title: "open + close, /etc/passwd again and again",
        times: FEW,
        act: Bench::open_same,
    },
    Work { name: "spawn", title: "fork + exec of /bin/true, until its end", times: 1, act: Bench::spawn },
    Work {
        name: "connect",
        title: "TCP connect to loopback, with socket and close",
        times: 20,
        act: Bench::connect,
    },
    Work { name: "getppid", title: "getppid", times: 2500, act: Bench::getppid },
];

/// The work of that name.
pub(crate) fn named(name: &str) -> Result<Work> {
    ALL.iter().find(|work| work.name == name).copied().with_context(|| format!("no work is called {name:?}"))
}

/// Makes the files that are opened, in so many folders.
pub(crate) fn furnish(scratch: &Path, folders: u32) -> Result<()> {
    for folder in 0..folders {
        let folder = files(scratch).join(format!("{folder:03}"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for file in 0..A_FOLDER {
            fs::write(folder.join(format!("document-{file:04}.txt")), b"")?;
        }
    }
    Ok(())
}

/// Where they are.
pub(crate) fn files(scratch: &Path) -> std::path::PathBuf {
    scratch.join("files")
}

/// What the work is done with.
pub(crate) struct Bench {
    few: Vec<CString>,
    many: Vec<CString>,
    listener: TcpListener,
    address: libc::sockaddr_in,
}

impl Bench {
    pub(crate) fn new(files: &Path) -> Result<Self> {
        let name = |number: u32| {
            let path = format!("{:03}/document-{:04}.txt", number / A_FOLDER, number % A_FOLDER);
            CString::new(files.join(path).as_os_str().as_bytes())
        };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let SocketAddr::V4(at) = listener.local_addr()? else { bail!("the listener has no IPv4 address") };
        // SAFETY: zero is a valid sockaddr_in.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::sa_family_t::try_from(libc::AF_INET)?;
        address.sin_port = at.port().to_be();
        address.sin_addr.s_addr = u32::from(*at.ip()).to_be();
        let few = (0..FEW).map(|n| name(n * 7 % A_FOLDER)).collect::<Result<_, _>>()?;
        let many = (0..MANY).map(name).collect::<Result<_, _>>()?;
        Ok(Self { few, many, listener, address })
    }

    /// Does `work` in `chunks` with a pause before each; nanoseconds for one time of it, chunk by chunk.
    pub(crate) fn chunks(&self, work: Work, chunks: u32, pause: Duration) -> Result<Vec<f64>> {
        let mut took = Vec::new();
        for _ in 0..chunks {
            std::thread::sleep(pause);
            // What the pause made cold.
            (work.act)(self, (work.times / 10).min(20))?;
            let begin = Instant::now();
            (work.act)(self, work.times)?;
            took.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(work.times));
            self.drain();
        }
        Ok(took)
    }

    /// Opens `rate` files a second, in portions of a millisecond; gives how many that were.
    pub(crate) fn paced(&self, rate: u32, duration: Duration) -> Result<u64> {
        let begin = Instant::now();
        let mut opened = 0_u64;
        let mut names = self.many.iter().cycle();
        loop {
            let elapsed = begin.elapsed();
            if elapsed >= duration {
                return Ok(opened);
            }
            let due = u64::try_from(elapsed.as_micros())? * u64::from(rate) / 1_000_000;
            // Late is late: no burst longer than 20 ms makes up for it.
            let portion = (due.saturating_sub(opened)).min(u64::from(rate) / 50 + 1);
            for name in names.by_ref().take(usize::try_from(portion)?) {
                open(name)?;
            }
            opened += portion;
            if portion < u64::from(rate) / 1000 + 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn open(&self, times: u32) -> Result<()> {
        self.few.iter().take(times as usize).try_for_each(|name| open(name))
    }

    fn open_same(&self, times: u32) -> Result<()> {
        let _ = self;
        (0..times).try_for_each(|_| open(c"/etc/passwd"))
    }

    fn spawn(&self, times: u32) -> Result<()> {
        const PROGRAM: &CStr = c"/bin/true";
        for _ in 0..times {
            let (mut pid, mut status) = (0, 0);
            let arguments = [PROGRAM.as_ptr().cast_mut(), null_mut()];
            // SAFETY: arguments and environment end with null and outlive the calls.
            let failed = unsafe {
                libc::posix_spawn(
                    &raw mut pid,
                    PROGRAM.as_ptr(),
                    null(),
                    null(),
                    arguments.as_ptr(),
                    [null_mut()].as_ptr(),
                ) != 0
                    || libc::waitpid(pid, &raw mut status, 0) != pid
            };
            ensure!(!failed && status == 0, "/bin/true did not run");
        }
        let _ = self;
        Ok(())
    }

    fn connect(&self, times: u32) -> Result<()> {
        let reset = libc::linger { l_onoff: 1, l_linger: 0 };
        for _ in 0..times {
            // SAFETY: address and option are of the sizes that are named.
            let result = unsafe {
                let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
                libc::setsockopt(
                    socket,
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&raw const reset).cast(),
                    size(&reset),
                );
                let result = libc::connect(socket, (&raw const self.address).cast(), size(&self.address));
                libc::close(socket);
                result
            };
            ensure!(result == 0, "cannot connect to loopback: {}", io::Error::last_os_error());
        }
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "as all work, which may fail")]
    fn getppid(&self, times: u32) -> Result<()> {
        for _ in 0..times {
            // SAFETY: no memory is passed. Called by number: nothing is kept of its result.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        let _ = self;
        Ok(())
    }

    /// Takes the connections that wait.
    fn drain(&self) {
        // SAFETY: no address is asked for; each descriptor is ours.
        unsafe {
            loop {
                let descriptor =
                    libc::accept4(self.listener.as_raw_fd(), null_mut(), null_mut(), libc::SOCK_CLOEXEC);
                if descriptor < 0 {
                    break;
                }
                libc::close(descriptor);
            }
        }
    }
}

fn size<T>(value: &T) -> u32 {
    u32::try_from(size_of_val(value)).unwrap_or(0)
}

fn open(name: &CStr) -> Result<()> {
    // SAFETY: the name ends with a null; the descriptor is ours.
    let descriptor = unsafe { libc::open(name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    ensure!(descriptor >= 0, "cannot open {name:?}: {}", io::Error::last_os_error());
    // SAFETY: as above.
    unsafe { libc::close(descriptor) };
    Ok(())
}
