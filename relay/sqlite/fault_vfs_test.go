package sqlite_test

import (
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// A faultyVFS is the file system on a disk that fails: at the n-th write, sync or
// truncation, once or from then on.
type faultyVFS struct {
	vfs.VFS
	name string

	mu     sync.Mutex
	count  int
	at     int // 0: never
	onward bool
	err    error
	torn   bool // a write that fails leaves its first half
}

// newFaultyVFS registers one under its name.
func newFaultyVFS(t *testing.T, name string) *faultyVFS {
	t.Helper()
	v := &faultyVFS{VFS: vfs.Find("os"), name: name}
	vfs.Register(name, v)
	t.Cleanup(func() { vfs.Unregister(name) })
	return v
}

// fail makes the n-th of the coming operations fail.
func (v *faultyVFS) fail(n int, onward bool, err error, torn bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count, v.at, v.onward, v.err, v.torn = 0, n, onward, err, torn
}

// heal makes the disk good again and tells whether it failed.
func (v *faultyVFS) heal() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	failed := v.at > 0 && v.count >= v.at
	v.at = 0
	return failed
}

// next counts an operation and returns the error that it must fail with.
func (v *faultyVFS) next() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count++
	if v.at > 0 && (v.count == v.at || v.onward && v.count > v.at) {
		return v.err
	}
	return nil
}

// OpenFilename implements vfs.VFSFilename.
func (v *faultyVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &faultyFile{file, v}, flags, nil
}

type faultyFile struct {
	vfs.File
	vfs *faultyVFS
}

func (f *faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.vfs.next(); err != nil {
		if f.vfs.torn {
			_, _ = f.File.WriteAt(p[:len(p)/2], offset)
		}
		return 0, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *faultyFile) Sync(flags vfs.SyncFlag) error {
	if err := f.vfs.next(); err != nil {
		return err
	}
	return f.File.Sync(flags)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.vfs.next(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Unwrap and SharedMemory let SQLite see the rest of the file.
func (f *faultyFile) Unwrap() vfs.File               { return f.File }
func (f *faultyFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *faultyFile) SetPersistWAL(keep bool)        { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *faultyFile) PersistWAL() bool               { return vfsutil.WrapPersistWAL(f.File) }
