//! Whether a file is whole, before LMDB reads it through a mapping.
//!
//! LMDB believes every page number, offset and size in its file: one changed bit can end the process or let a commit
//! write over what is stored. So the two meta pages are looked at before it opens the file, and afterwards, under a
//! read transaction that keeps its pages from being reused, every page of both trees: that each is there once, says
//! what it is, and has its nodes inside it and in order. What a checkpoint holds has checksums of its own. The cost
//! is one read of each page that is not a state's.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Of pages that LMDB makes: that of the system.
const PAGE_SIZE_MAX: usize = 65_536;
const PAGE_SIZE_MIN: usize = 512;
const HEADER_SIZE: usize = 16;
const META_SIZE: usize = 152;
const NODE_HEADER_SIZE: usize = 8;
const KEY_SIZE_MAX: usize = 511;
const DEPTH_MAX: u16 = 32;
const MAGIC: u32 = 0xBEEF_C0DE;
/// Of LMDB's data file.
pub(super) const DATA_VERSION: u32 = 1;
const NO_PAGE: u64 = u64::MAX;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;
/// Of a node: its value stands on pages of its own.
const BIG: u16 = 0x01;
/// Of the tree of free pages: its keys are integers.
const INTEGER_KEYS: u16 = 0x08;

/// What is wrong, or why it cannot be told.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not what was written.
    Damage { page: u64, reason: &'static str },
    /// Of another version of LMDB.
    Version { found: u32 },
    /// The file cannot be read.
    Io(io::Error),
    /// Its writer went on meanwhile; look again.
    Moved,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn damage<T>(page: u64, reason: &'static str) -> Result<T, Fault> {
    Err(Fault::Damage { page, reason })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// One of the trees of a meta page.
#[derive(Debug, Clone, Copy)]
struct Tree {
    flags: u16,
    depth: u16,
    branch_pages: u64,
    leaf_pages: u64,
    overflow_pages: u64,
    entries: u64,
    root: u64,
}

impl Tree {
    fn at(bytes: &[u8], at: usize) -> Self {
        Self {
            flags: u16_at(bytes, at + 4),
            depth: u16_at(bytes, at + 6),
            branch_pages: u64_at(bytes, at + 8),
            leaf_pages: u64_at(bytes, at + 16),
            overflow_pages: u64_at(bytes, at + 24),
            entries: u64_at(bytes, at + 32),
            root: u64_at(bytes, at + 40),
        }
    }
}

/// What a meta page says.
#[derive(Debug, Clone, Copy)]
struct Meta {
    page_size: usize,
    free: Tree,
    main: Tree,
    last_page: u64,
    transaction: u64,
}

impl Meta {
    fn read(file: &File, page: u64, page_size: Option<usize>, pages_max: u64) -> Result<Self, Fault> {
        let mut bytes = [0; META_SIZE];
        let at = page * page_size.unwrap_or(0) as u64;
        file.read_exact_at(&mut bytes, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Damage { page, reason: "the file ends before it" },
            _ => Fault::Io(error),
        })?;
        if u64_at(&bytes, 0) != page || u16_at(&bytes, 10) != META || u32_at(&bytes, 16) != MAGIC {
            return damage(page, "no meta page");
        }
        let found = u32_at(&bytes, 20);
        if found != DATA_VERSION {
            return Err(Fault::Version { found });
        }
        let size = u32_at(&bytes, 40) as usize;
        if !size.is_power_of_two()
            || !(PAGE_SIZE_MIN..=PAGE_SIZE_MAX).contains(&size)
            || page_size.is_some_and(|known| known != size)
        {
            return damage(page, "size of pages");
        }
        let (free, main) = (Tree::at(&bytes, 40), Tree::at(&bytes, 88));
        if u64_at(&bytes, 24) != 0 || free.flags != INTEGER_KEYS || main.flags != 0 {
            return damage(page, "flags");
        }
        let last_page = u64_at(&bytes, 136);
        if last_page == 0 || last_page >= pages_max / size as u64 {
            return damage(page, "number of the last page");
        }
        Ok(Self { page_size: size, free, main, last_page, transaction: u64_at(&bytes, 144) })
    }
}

/// Both meta pages; an empty file has none and is made whole by LMDB.
fn metas(file: &File, map_size: u64) -> Result<Option<[Meta; 2]>, Fault> {
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    let first = Meta::read(file, 0, None, map_size)?;
    Ok(Some([first, Meta::read(file, 1, Some(first.page_size), map_size)?]))
}

/// Whether LMDB may open the file.
pub(super) fn check_metas(file: &File, map_size: u64) -> Result<(), Fault> {
    metas(file, map_size).map(|_| ())
}

/// Whether every page of the state that `transaction` sees is whole. It must stay open meanwhile.
pub(super) fn check_trees(file: &File, map_size: u64, transaction: u64) -> Result<(), Fault> {
    let Some(metas) = metas(file, map_size)? else { return damage(0, "the file is empty") };
    let Some(meta) = metas.into_iter().find(|meta| meta.transaction == transaction) else { return Err(Fault::Moved) };
    let mut walk = Walk {
        file,
        meta,
        size_bytes: file.metadata()?.len(),
        used: HashSet::new(),
        free: Vec::new(),
        found: Tree { flags: 0, depth: 0, branch_pages: 0, leaf_pages: 0, overflow_pages: 0, entries: 0, root: 0 },
        last_key: Vec::new(),
    };
    walk.tree(meta.main, false)?;
    walk.tree(meta.free, true)?;
    walk.free.sort_unstable();
    if walk.free.windows(2).any(|pair| pair[0] == pair[1]) {
        return damage(meta.free.root, "a page is free twice");
    }
    match walk.free.iter().find(|page| walk.used.contains(page)) {
        Some(page) => damage(*page, "it is free and in use"),
        None => Ok(()),
    }
}

struct Walk<'a> {
    file: &'a File,
    meta: Meta,
    size_bytes: u64,
    used: HashSet<u64>,
    free: Vec<u64>,
    /// What was counted of the tree being walked.
    found: Tree,
    last_key: Vec<u8>,
}

impl Walk<'_> {
    fn tree(&mut self, tree: Tree, is_free: bool) -> Result<(), Fault> {
        self.found = Tree { depth: tree.depth, branch_pages: 0, leaf_pages: 0, overflow_pages: 0, entries: 0, ..tree };
        self.last_key.clear();
        if tree.root == NO_PAGE {
            if tree.depth != 0 {
                return damage(tree.root, "depth of an empty tree");
            }
        } else if tree.depth == 0 || tree.depth > DEPTH_MAX {
            return damage(tree.root, "depth of a tree");
        } else {
            self.page(tree.root, tree.depth, is_free)?;
        }
        let found = self.found;
        let counts = |tree: Tree| (tree.branch_pages, tree.leaf_pages, tree.overflow_pages, tree.entries);
        if counts(found) == counts(tree) { Ok(()) } else { damage(tree.root, "counts of a tree") }
    }

    /// Notes that these pages are used, if they can be.
    fn take(&mut self, first: u64, count: u64) -> Result<(), Fault> {
        let end = first.checked_add(count).filter(|end| first >= 2 && *end - 1 <= self.meta.last_page);
        let Some(end) = end else { return damage(first, "no such page") };
        if end * self.meta.page_size as u64 > self.size_bytes {
            return damage(first, "the file ends before it");
        }
        for page in first..end {
            if !self.used.insert(page) {
                return damage(page, "it is in use twice");
            }
        }
        Ok(())
    }

    fn read(&self, page: u64, size: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, page * self.meta.page_size as u64)?;
        if u64_at(&bytes, 0) == page { Ok(bytes) } else { damage(page, "its number") }
    }

    fn page(&mut self, page: u64, depth: u16, is_free: bool) -> Result<(), Fault> {
        self.take(page, 1)?;
        let size = self.meta.page_size;
        let bytes = self.read(page, size)?;
        let is_leaf = depth == 1;
        if u16_at(&bytes, 10) != if is_leaf { LEAF } else { BRANCH } {
            return damage(page, "its kind");
        }
        let (lower, upper) = (usize::from(u16_at(&bytes, 12)), usize::from(u16_at(&bytes, 14)));
        if lower < HEADER_SIZE || !lower.is_multiple_of(2) || upper < lower || upper > size {
            return damage(page, "its bounds");
        }
        let count = (lower - HEADER_SIZE) / 2;
        if count < if is_leaf { 1 } else { 2 } {
            return damage(page, "it has no nodes");
        }
        let mut filled = 0;
        for index in 0..count {
            let at = usize::from(u16_at(&bytes, HEADER_SIZE + 2 * index));
            if at < upper || !at.is_multiple_of(2) || at + NODE_HEADER_SIZE > size {
                return damage(page, "place of a node");
            }
            let node = &bytes[at..];
            let (low, high) = (u64::from(u16_at(node, 0)), u64::from(u16_at(node, 2)));
            let (flags, key_size) = (u16_at(node, 4), usize::from(u16_at(node, 6)));
            let key_end = NODE_HEADER_SIZE + key_size;
            if key_end > node.len() || key_size > KEY_SIZE_MAX {
                return damage(page, "size of a key");
            }
            let key = &node[NODE_HEADER_SIZE..key_end];
            if !is_leaf {
                // The first key of a branch is never looked at.
                filled += key_end.next_multiple_of(2);
                if is_free && index > 0 && key_size != 8 {
                    return damage(page, "size of a key");
                }
                self.page(low | high << 16 | u64::from(flags) << 32, depth - 1, is_free)?;
                continue;
            }
            self.in_order(page, key, is_free)?;
            self.found.entries += 1;
            let data_size = low | high << 16;
            let in_page = if flags == BIG { 8 } else { data_size as usize };
            if flags & !BIG != 0 || in_page > node.len() - key_end {
                return damage(page, "size of a value");
            }
            filled += (key_end + in_page).next_multiple_of(2);
            let data = &node[key_end..key_end + in_page];
            if flags == BIG {
                let first = u64_at(data, 0);
                let needed = (HEADER_SIZE as u64 + data_size).div_ceil(size as u64);
                self.big(first, needed)?;
                if is_free {
                    let run = self.read(first, needed as usize * size)?;
                    self.free_pages(page, &run[HEADER_SIZE..HEADER_SIZE + data_size as usize])?;
                }
            } else if is_free {
                self.free_pages(page, data)?;
            }
        }
        if filled != size - upper {
            return damage(page, "its bounds");
        }
        if is_leaf {
            self.found.leaf_pages += 1
        } else {
            self.found.branch_pages += 1
        }
        Ok(())
    }

    /// A value on pages of its own.
    fn big(&mut self, first: u64, needed: u64) -> Result<(), Fault> {
        self.take(first, 1)?;
        let head = self.read(first, HEADER_SIZE)?;
        let count = u64::from(u32_at(&head, 12));
        if u16_at(&head, 10) != OVERFLOW || count != needed {
            return damage(first, "its kind");
        }
        if count > 1 {
            self.take(first + 1, count - 1)?;
        }
        self.found.overflow_pages += count;
        Ok(())
    }

    fn in_order(&mut self, page: u64, key: &[u8], is_free: bool) -> Result<(), Fault> {
        let is_first = self.found.entries == 0;
        let follows = if is_free {
            key.len() == 8 && (is_first || u64_at(key, 0) > u64_at(&self.last_key, 0))
        } else {
            !key.is_empty() && (is_first || *key > self.last_key[..])
        };
        if !follows {
            return damage(page, "order of its keys");
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// A list of free pages: how many, then their numbers, falling.
    fn free_pages(&mut self, page: u64, list: &[u8]) -> Result<(), Fault> {
        let count = if list.len() < 8 { u64::MAX } else { u64_at(list, 0) };
        if count.checked_add(1).and_then(|words| words.checked_mul(8)).is_none_or(|size| size > list.len() as u64) {
            return damage(page, "size of a list of free pages");
        }
        let pages: Vec<u64> = (1..=count as usize).map(|index| u64_at(list, 8 * index)).collect();
        if pages.windows(2).any(|pair| pair[0] <= pair[1])
            || pages.iter().any(|free| *free < 2 || *free > self.meta.last_page)
        {
            return damage(page, "numbers of free pages");
        }
        self.free.extend(pages);
        Ok(())
    }
}
