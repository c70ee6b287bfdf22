//! What Linux can be asked for, and where it says what came of it.

use std::fs;
use std::io;

use super::{Effect, MemoryTuning};
use crate::ring::Ring;

impl Effect {
    /// What is in force is told with how much of it there is, also where the kernel refused to do it once more.
    fn of(option: &'static str, in_force: bool, found: String, refused: Option<String>) -> Self {
        Self::new(option, in_force, refused.filter(|_| !in_force).unwrap_or(found))
    }
}

impl Ring {
    /// Asks for this and tells what is in force for this process's mapping of the ring.
    pub fn tune(&self, wanted: MemoryTuning) -> Vec<Effect> {
        let mapping = &self.mapping;
        let (address, size) = (mapping.address(), mapping.size_bytes());
        let mut refused = [const { None }; 3];
        if wanted.lock {
            // SAFETY: the range is this ring's mapping, which lives as long as `self`; locking changes no content.
            refused[0] = failure(unsafe { libc::mlock(address.cast(), size) }).map(|error| {
                let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
                let limit = limit.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
                format!("{error}; the limit of locked memory is {limit} (ulimit -l), this ring has {} KiB", size / 1024)
            });
        }
        if wanted.huge_pages {
            // SAFETY: as above; how memory is paged changes no content.
            refused[1] = failure(unsafe { libc::madvise(address.cast(), size, libc::MADV_HUGEPAGE) })
                // SAFETY: as above.
                .or_else(|| failure(unsafe { libc::madvise(address.cast(), size, MADV_COLLAPSE) }))
                .map(|error| {
                    let file = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
                    let set = fs::read_to_string(file).unwrap_or_default();
                    let set = set.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
                    format!(
                        "{error}; {file} is {set}, and a ring needs 2 MiB for one huge page, it has {} KiB",
                        size / 1024
                    )
                });
        }
        if let Some(node) = wanted.numa_node {
            refused[2] = bind(address, size, node).err().map(|error| format!("node {node}: {error}"));
        }
        let pages = Pages::of(address as u64);
        let resident = format!("{} of {} KiB are resident", pages.resident_kib, size / 1024);
        let mut effects = vec![Effect::new("prefault", pages.resident_kib >= size as u64 / 1024, resident)];
        if wanted.lock {
            let locked = format!("{} of {} KiB are locked", pages.locked_kib, size / 1024);
            let is_whole = pages.locked_kib >= size as u64 / 1024;
            effects.push(Effect::of("lock", is_whole, locked, refused[0].take()));
        }
        if wanted.huge_pages {
            let huge = format!("{} of {} KiB are in huge pages", pages.huge_kib, size / 1024);
            let can_be = huge_kib_max(address as u64, size as u64);
            effects.push(Effect::of("huge_pages", can_be > 0 && pages.huge_kib >= can_be, huge, refused[1].take()));
        }
        if let Some(node) = wanted.numa_node {
            let placed = nodes_of(address as u64);
            let there = placed.iter().find(|(found, _)| *found == node).map_or(0, |(_, pages)| *pages);
            let all: u64 = placed.iter().map(|(_, pages)| pages).sum();
            let on_node = format!("{there} of {all} pages are on node {node}");
            effects.push(Effect::of("numa_node", there > 0 && there == all, on_node, refused[2].take()));
        }
        effects
    }
}

/// Binds the calling thread to one CPU.
pub fn pin_thread(cpu: u32) -> Effect {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let mut wanted = CpuSet::new();
    if cpu as usize >= CpuSet::MAX_CPU {
        return Effect::new("cpu", false, format!("CPU {cpu}: there is no CPU of this number"));
    }
    wanted.set(cpu as usize);
    if let Err(error) = sched_setaffinity(None, &wanted) {
        let reason = if error == rustix::io::Errno::INVAL {
            "not there, or not allowed to this process".to_owned()
        } else {
            error.to_string()
        };
        return Effect::new("cpu", false, format!("CPU {cpu}: {reason}"));
    }
    let pinned = sched_getaffinity(None).is_ok_and(|found| found == wanted);
    let detail = if isolated(cpu) { format!("CPU {cpu}, which is isolated") } else { format!("CPU {cpu}") };
    Effect::new("cpu", pinned, detail)
}

/// Whether the kernel keeps other work away from it.
fn isolated(cpu: u32) -> bool {
    let list = fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    list.trim().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if (first..=last).contains(&cpu))
    })
}

/// Since Linux 6.1; not in libc for all targets.
const MADV_COLLAPSE: libc::c_int = 25;
/// Of x86-64, and of 64-bit ARM with pages of 4 KiB.
const HUGE_PAGE_SIZE_BYTES: u64 = 2 << 20;
const MPOL_BIND: libc::c_int = 2;
const MPOL_MF_MOVE: libc::c_uint = 2;

fn failure(result: libc::c_int) -> Option<io::Error> {
    (result != 0).then(io::Error::last_os_error)
}

fn bind(address: *mut u8, size: usize, node: u32) -> io::Result<()> {
    if node >= 64 {
        return Err(io::Error::other("nodes are numbered from 0 to 63 here"));
    }
    let mask: libc::c_ulong = 1 << node;
    // SAFETY: the range is a mapping that lives during the call, and the mask has the 64 bits said (the kernel counts
    // one more than there are); where pages lie changes no content.
    let result =
        unsafe { libc::syscall(libc::SYS_mbind, address, size, MPOL_BIND, &raw const mask, 65u64, MPOL_MF_MOVE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel says of a mapping.
#[derive(Debug, Default)]
struct Pages {
    resident_kib: u64,
    locked_kib: u64,
    huge_kib: u64,
}

/// How much of a mapping whole huge pages can hold: it need neither begin nor end with one.
const fn huge_kib_max(address: u64, size: u64) -> u64 {
    let first = address.next_multiple_of(HUGE_PAGE_SIZE_BYTES);
    let last = (address + size) / HUGE_PAGE_SIZE_BYTES * HUGE_PAGE_SIZE_BYTES;
    last.saturating_sub(first) / 1024
}

impl Pages {
    fn of(address: u64) -> Self {
        let mut pages = Self::default();
        let Ok(text) = fs::read_to_string("/proc/self/smaps") else { return pages };
        let mut inside = false;
        for line in text.lines() {
            // `7f00-7f10 rw-s ...` heads a mapping, `Rss: 12 kB` is one of its lines.
            if let Some((range, _)) = line.split_once(' ')
                && let Some((first, last)) = range.split_once('-')
                && let (Ok(first), Ok(last)) = (u64::from_str_radix(first, 16), u64::from_str_radix(last, 16))
            {
                inside = (first..last).contains(&address);
            } else if inside && let Some((name, rest)) = line.split_once(':') {
                // Not `Locked`, which divides each page by those who have it mapped.
                if name == "VmFlags" && rest.split_whitespace().any(|flag| flag == "lo") {
                    pages.locked_kib = pages.resident_kib;
                }
                let kib = rest.trim().trim_end_matches(" kB").parse().unwrap_or(0);
                match name {
                    "Rss" => pages.resident_kib = kib,
                    "ShmemPmdMapped" | "FilePmdMapped" => pages.huge_kib += kib,
                    _ => {}
                }
            }
        }
        pages
    }
}

/// Pages of a mapping by NUMA node.
fn nodes_of(address: u64) -> Vec<(u32, u64)> {
    let text = fs::read_to_string("/proc/self/numa_maps").unwrap_or_default();
    let start = format!("{address:x} ");
    let line = text.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
    line.split(' ')
        .filter_map(|word| word.strip_prefix('N')?.split_once('='))
        .filter_map(|(node, pages)| Some((node.parse().ok()?, pages.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: a limit that forbids locking binds no privileged user, so what a refusal comes to is asked directly.
    #[test]
    fn a_part_is_not_in_force_and_what_is_in_force_is_told_without_a_refusal() {
        let refusal = || Some("no".to_owned());
        assert_eq!(Effect::of("lock", false, "1 of 2".into(), refusal()), Effect::new("lock", false, "no"));
        assert_eq!(Effect::of("lock", false, "1 of 2".into(), None), Effect::new("lock", false, "1 of 2"));
        assert_eq!(Effect::of("lock", true, "2 of 2".into(), refusal()), Effect::new("lock", true, "2 of 2"));
        let mib = |count: u64| count << 20;
        assert_eq!(huge_kib_max(mib(2), mib(5)), 4096);
        assert_eq!(huge_kib_max(mib(3), mib(5)), 4096);
        assert_eq!(huge_kib_max(mib(3), mib(2)), 0);
    }
}
