package sqlite_test

import (
	"bytes"
	"math/rand/v2"
	"os"
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
	files  map[string]*diskFile
}

// A diskFile is what a power cut can leave of a file: what was synced last, and of
// the writes since then any.
type diskFile struct {
	synced []byte
	since  []func([]byte) []byte
}

// afterPowerCut returns what is left of a file.
func (v *faultyVFS) afterPowerCut(path string, random *rand.Rand) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.files[path]
	left := bytes.Clone(f.synced)
	for _, change := range f.since {
		if random.IntN(2) == 0 {
			left = change(left)
		}
	}
	return left
}

func (v *faultyVFS) changed(path string, change func([]byte) []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.files[path]; f != nil {
		f.since = append(f.since, change)
	}
}

// synced takes what a file holds as safe.
func (v *faultyVFS) synced(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return // a temporary file
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.files[path] = &diskFile{synced: b}
}

// newFaultyVFS registers one under its name.
func newFaultyVFS(t *testing.T, name string) *faultyVFS {
	t.Helper()
	v := &faultyVFS{VFS: vfs.Find("os"), name: name, files: make(map[string]*diskFile)}
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

// heal makes the disk good again if it failed, and tells whether it did.
func (v *faultyVFS) heal() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	failed := v.at > 0 && v.count >= v.at
	if failed {
		v.at = 0
	}
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
	v.mu.Lock()
	known := v.files[name.String()] != nil
	v.mu.Unlock()
	if !known {
		v.synced(name.String())
	}
	return &faultyFile{file, v, name.String()}, flags, nil
}

type faultyFile struct {
	vfs.File
	vfs  *faultyVFS
	path string
}

func (f *faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	err := f.vfs.next()
	if err != nil && !f.vfs.torn {
		return 0, err
	}
	if err != nil {
		p = p[:len(p)/2]
	}
	written := bytes.Clone(p)
	f.vfs.changed(f.path, func(b []byte) []byte {
		if missing := int(offset) + len(written) - len(b); missing > 0 {
			b = append(b, make([]byte, missing)...)
		}
		copy(b[offset:], written)
		return b
	})
	n, writeErr := f.File.WriteAt(p, offset)
	if err != nil {
		return 0, err
	}
	return n, writeErr
}

func (f *faultyFile) Sync(flags vfs.SyncFlag) error {
	if err := f.vfs.next(); err != nil {
		return err
	}
	if err := f.File.Sync(flags); err != nil {
		return err
	}
	f.vfs.synced(f.path)
	return nil
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.vfs.next(); err != nil {
		return err
	}
	f.vfs.changed(f.path, func(b []byte) []byte { return b[:min(int(size), len(b))] })
	return f.File.Truncate(size)
}

// Unwrap and SharedMemory let SQLite see the rest of the file.
func (f *faultyFile) Unwrap() vfs.File               { return f.File }
func (f *faultyFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *faultyFile) SetPersistWAL(keep bool)        { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *faultyFile) PersistWAL() bool               { return vfsutil.WrapPersistWAL(f.File) }
