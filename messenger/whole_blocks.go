package messenger

import (
	"hash/maphash"
	"sync"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/ncruces/go-sqlite3/vfs/adiantum"
)

// vfsName is how SQLite calls what encrypts a database whole, its journal too.
const vfsName = "sealpost"

func init() { vfs.Register(vfsName, adiantum.Wrap(wholeBlocks{vfs.Find("")}, nil)) }

// wholeBlocks lets nobody read a block while it is being written. The frames of the
// journal begin anywhere in an encrypted block, so that to add one the block is written
// again that a reader beside it needs for the one before; and to read and to write a file
// at once may give half of each, which decrypts to nothing. Without encryption SQLite
// never reads what is being written. Its locks between processes do not help there, but a
// profile is used by one process at a time.
type wholeBlocks struct{ vfs.VFS }

// OpenFilename implements vfs.VFSFilename.
func (w wholeBlocks) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(w.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return wholeBlockFile{file, blockLock(name.String())}, flags, nil
}

// Two files may have the same lock: it is held for a moment.
var (
	blockLocks    [64]sync.RWMutex
	blockLockSeed = maphash.MakeSeed()
)

func blockLock(path string) *sync.RWMutex {
	return &blockLocks[maphash.String(blockLockSeed, path)%uint64(len(blockLocks))]
}

type wholeBlockFile struct {
	vfs.File
	lock *sync.RWMutex
}

// ReadAt implements io.ReaderAt.
func (f wholeBlockFile) ReadAt(b []byte, offset int64) (int, error) {
	f.lock.RLock()
	defer f.lock.RUnlock()
	return f.File.ReadAt(b, offset)
}

// WriteAt implements io.WriterAt.
func (f wholeBlockFile) WriteAt(b []byte, offset int64) (int, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	return f.File.WriteAt(b, offset)
}

// What follows is optional, and passed on as the system's files have it.

// Unwrap implements vfs.FileUnwrap.
func (f wholeBlockFile) Unwrap() vfs.File { return f.File }

// SharedMemory implements vfs.FileSharedMemory.
func (f wholeBlockFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }

// LockState implements vfs.FileLockState.
func (f wholeBlockFile) LockState() vfs.LockLevel { return vfsutil.WrapLockState(f.File) }

// HasMoved implements vfs.FileHasMoved.
func (f wholeBlockFile) HasMoved() (bool, error) { return vfsutil.WrapHasMoved(f.File) }

// SizeHint implements vfs.FileSizeHint.
func (f wholeBlockFile) SizeHint(size int64) error { return vfsutil.WrapSizeHint(f.File, size) }

// PersistWAL implements vfs.FilePersistWAL.
func (f wholeBlockFile) PersistWAL() bool { return vfsutil.WrapPersistWAL(f.File) }

// SetPersistWAL implements vfs.FilePersistWAL.
func (f wholeBlockFile) SetPersistWAL(keep bool) { vfsutil.WrapSetPersistWAL(f.File, keep) }
