//! A file system in memory for tests: it fails when told to, and forgets what was not synced, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rustix::io::Errno;

use super::disk::{Access, Directory, Disk, DiskFile};

/// A disk that can be crashed.
pub struct FakeDisk {
    world: Arc<Mutex<World>>,
}

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create,
    Write,
    Allocate,
    Truncate,
    Sync,
    Rename,
    OpenDirectory,
    SyncDirectory,
}

struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    pending: Vec<(PathBuf, Option<usize>)>,
    life: u64,
    place: u64,
    /// The machine or the process ends at this operation from now.
    crash_in: Option<u64>,
    dead: bool,
    faults: Vec<Fault>,
    /// No more files than these are open at once.
    open_max: usize,
    opened: Arc<()>,
    /// A write takes at most so much at once.
    write_bytes_max: usize,
    random: Xoshiro256PlusPlus,
}

struct Fault {
    op: Op,
    skip: u64,
    times: u64,
    errno: Errno,
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    synced: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends: the system still has everything.
    Kill,
    /// The machine ends: each page that was not synced is there or not.
    PowerCut,
}

impl FakeDisk {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::new(Mutex::new(World {
                inodes: Vec::new(),
                names: BTreeMap::new(),
                synced_names: BTreeMap::new(),
                pending: Vec::new(),
                life: 0,
                place: 0,
                crash_in: None,
                dead: false,
                faults: Vec::new(),
                open_max: usize::MAX,
                opened: Arc::default(),
                write_bytes_max: usize::MAX,
                random: Xoshiro256PlusPlus::seed_from_u64(seed),
            })),
        })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next operation but `operations` is the last, and half done.
    pub fn crash_in(&self, operations: u64) {
        self.world().crash_in = Some(operations);
    }

    /// After `skip` more of them, `times` operations of this kind fail.
    pub fn fail(&self, op: Op, skip: u64, times: u64, errno: Errno) {
        self.world().faults.push(Fault { op, skip, times, errno });
    }

    /// From now on so many files can be open at once.
    pub fn open_at_most(&self, files: usize) {
        let mut world = self.world();
        (world.open_max, world.opened) = (files, Arc::default());
    }

    /// Writes are short from now on.
    pub fn write_at_most(&self, bytes: usize) {
        self.world().write_bytes_max = bytes;
    }

    /// The disk as it is found after a crash.
    pub fn crash(&self, crash: Crash) -> Arc<Self> {
        let mut world = self.world();
        let World { random, .. } = &mut *world;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(random.next_u64());
        let (inodes, names, life) = match crash {
            Crash::Kill => (world.inodes.clone(), world.names.clone(), world.life),
            Crash::PowerCut => {
                let mut names = world.synced_names.clone();
                let survive = random.next_u64() as usize % (world.pending.len() + 1);
                for (path, inode) in &world.pending[..survive] {
                    apply(&mut names, path, *inode);
                }
                let inodes = world.inodes.iter().map(|inode| inode.after_power_cut(&mut random));
                (inodes.collect(), names, world.life + 1)
            }
        };
        let place = world.place;
        let (synced_names, pending) = match crash {
            Crash::Kill => (world.synced_names.clone(), world.pending.clone()),
            Crash::PowerCut => (names.clone(), Vec::new()),
        };
        Arc::new(Self {
            world: Arc::new(Mutex::new(World {
                inodes,
                names,
                synced_names,
                pending,
                life,
                place,
                crash_in: None,
                dead: false,
                faults: Vec::new(),
                open_max: usize::MAX,
                opened: Arc::default(),
                write_bytes_max: usize::MAX,
                random,
            })),
        })
    }

    /// The machine was started anew, and nothing was lost.
    pub fn restart_machine(&self) {
        self.world().life += 1;
    }

    /// The files are a copy of what they were, made without a sync.
    pub fn copy(&self) {
        let mut world = self.world();
        world.place += 1;
        world.life += 1;
        for inode in &mut world.inodes {
            inode.dirty.extend(0..=inode.data.len() / PAGE_BYTES);
            inode.synced.clear();
        }
    }

    /// Every file, by name.
    pub fn files(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    /// The bytes of a file.
    pub fn read(&self, path: &Path) -> Vec<u8> {
        let world = self.world();
        world.inodes[world.names[path]].data.clone()
    }

    /// Puts bytes in a file, on stable storage at once.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world();
        world.inodes.push(Inode {
            data: bytes.to_vec(),
            synced: bytes.to_vec(),
            dirty: BTreeSet::new(),
        });
        let inode = world.inodes.len() - 1;
        world.names.insert(path.to_owned(), inode);
        world.synced_names.insert(path.to_owned(), inode);
    }

    /// Deletes a file, on stable storage at once.
    pub fn lose(&self, path: &Path) {
        let mut world = self.world();
        world.names.remove(path).expect("it was there");
        world.synced_names.remove(path);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, path: &Path, inode: Option<usize>) {
    match inode {
        Some(inode) => names.insert(path.to_owned(), inode),
        None => names.remove(path),
    };
}

impl Inode {
    fn after_power_cut(&self, random: &mut Xoshiro256PlusPlus) -> Self {
        let mut data = self.synced.clone();
        if random.next_u64().is_multiple_of(2) {
            data.resize(self.data.len(), 0);
        }
        for &page in self.dirty.iter().filter(|_| random.next_u64().is_multiple_of(2)) {
            let from = page * PAGE_BYTES;
            let to = (from + PAGE_BYTES).min(self.data.len()).min(data.len());
            if from < to {
                data[from..to].copy_from_slice(&self.data[from..to]);
            }
        }
        Self {
            synced: data.clone(),
            data,
            dirty: BTreeSet::new(),
        }
    }

    fn sync(&mut self) {
        self.synced.resize(self.data.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let from = page * PAGE_BYTES;
            let to = (from + PAGE_BYTES).min(self.data.len());
            if from < to {
                self.synced[from..to].copy_from_slice(&self.data[from..to]);
            }
        }
    }

    fn truncate(&mut self, bytes: usize) {
        if bytes < self.data.len() {
            // What is cut and comes again is zero, also in the page that is cut in two.
            self.dirty.insert(bytes / PAGE_BYTES);
            let last = self.data.len() / PAGE_BYTES;
            self.dirty.extend(bytes / PAGE_BYTES..=last);
        }
        self.data.resize(bytes, 0);
    }
}

impl World {
    /// One more operation; says whether it is the last one, which is half done.
    fn step(&mut self, op: Op) -> io::Result<bool> {
        if self.dead {
            return Err(io::Error::other("crashed"));
        }
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Err(fault.errno.into());
            }
        }
        match &mut self.crash_in {
            Some(0) => {
                self.dead = true;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn step_whole(&mut self, op: Op) -> io::Result<()> {
        match self.step(op)? {
            true => Err(io::Error::other("crashed")),
            false => Ok(()),
        }
    }

    fn rename(&mut self, path: &Path, inode: Option<usize>) {
        apply(&mut self.names, path, inode);
        self.pending.push((path.to_owned(), inode));
    }
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.step_whole(Op::Create)?;
        world.inodes.push(Inode::default());
        let inode = world.inodes.len() - 1;
        world.rename(path, Some(inode));
        drop(world);
        self.file(inode)
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.world().names.get(path).copied();
        self.file(inode.ok_or(io::ErrorKind::NotFound)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step_whole(Op::Rename)?;
        let inode = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.rename(to, Some(inode));
        world.rename(from, None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step_whole(Op::Rename)?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.rename(path, None);
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        let inside = world.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn make_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open_directory(&self, _directory: &Path) -> io::Result<Arc<dyn Directory>> {
        self.world().step_whole(Op::OpenDirectory)?;
        Ok(Arc::new(FakeDirectory {
            world: self.world.clone(),
        }))
    }

    fn life(&self, _directory: &Path) -> Option<String> {
        Some(self.world().life.to_string())
    }

    fn place(&self, _directory: &Path) -> Option<String> {
        Some(self.world().place.to_string())
    }
}

impl FakeDisk {
    fn file(&self, inode: usize) -> io::Result<Arc<dyn DiskFile>> {
        let (opened, open_max) = {
            let world = self.world();
            (world.opened.clone(), world.open_max)
        };
        // The disk itself holds one, and this function one.
        if Arc::strong_count(&opened) - 2 >= open_max {
            return Err(Errno::MFILE.into());
        }
        Ok(Arc::new(FakeFile {
            world: self.world.clone(),
            inode,
            _opened: opened,
        }))
    }
}

struct FakeDirectory {
    world: Arc<Mutex<World>>,
}

impl Directory for FakeDirectory {
    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.step_whole(Op::SyncDirectory)?;
        world.synced_names = world.names.clone();
        world.pending.clear();
        Ok(())
    }
}

struct FakeFile {
    world: Arc<Mutex<World>>,
    inode: usize,
    _opened: Arc<()>,
}

impl FakeFile {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for FakeFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.world().inodes[self.inode].data.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let world = self.world();
        let data = world.inodes[self.inode].data.get(at as usize..).unwrap_or(&[]);
        let read = data.len().min(buffer.len());
        buffer[..read].copy_from_slice(&data[..read]);
        Ok(read)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let mut world = self.world();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut length = bytes.len().min(world.write_bytes_max);
        let crashed = world.step(Op::Write)?;
        if crashed {
            length = world.random.next_u64() as usize % (length + 1);
        }
        let (from, to) = (at as usize, at as usize + length);
        let inode = &mut world.inodes[self.inode];
        if inode.data.len() < to {
            inode.data.resize(to, 0);
        }
        inode.data[from..to].copy_from_slice(&bytes[..length]);
        if from < to {
            inode.dirty.extend(from / PAGE_BYTES..=(to - 1) / PAGE_BYTES);
        }
        if crashed {
            Err(io::Error::other("crashed"))
        } else {
            Ok(length)
        }
    }

    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        world.step_whole(Op::Allocate)?;
        let end = (at + bytes) as usize;
        let inode = &mut world.inodes[self.inode];
        if inode.data.len() < end {
            inode.data.resize(end, 0);
        }
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        world.step_whole(Op::Truncate)?;
        world.inodes[self.inode].truncate(bytes as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        world.step_whole(Op::Sync)?;
        world.inodes[self.inode].sync();
        Ok(())
    }
}

/// Small, so that a short test has many.
const PAGE_BYTES: usize = 64;
