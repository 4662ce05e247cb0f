package messenger

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3/vfs"
)

// openPlain is a VFS of files that the system opens, without its locks.
type openPlain struct {
	vfs.VFS
	path string
}

func (o openPlain) Open(string, vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_RDWR, 0o600)
	return plainFile{f: f}, 0, err
}

type plainFile struct {
	vfs.File
	f *os.File
}

func (p plainFile) ReadAt(b []byte, offset int64) (int, error)  { return p.f.ReadAt(b, offset) }
func (p plainFile) WriteAt(b []byte, offset int64) (int, error) { return p.f.WriteAt(b, offset) }
func (p plainFile) Close() error                                { return p.f.Close() }

// Over another connection, a block is as it was before a write or as after it.
func TestBlocksAreReadWhole(t *testing.T) {
	system := wholeBlocks{openPlain{path: filepath.Join(t.TempDir(), "blocks")}}
	open := func() vfs.File {
		f, _, err := system.OpenFilename(nil, vfs.OPEN_WAL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	const size, writes = 4096, 1_000_000
	patterns := [2][]byte{bytes.Repeat([]byte{1}, size), bytes.Repeat([]byte{2}, size)}
	writer, reader := open(), open()
	if _, err := writer.WriteAt(patterns[1], size); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		for i := range writes {
			if _, err := writer.WriteAt(patterns[i%2], size); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	torn, got := 0, make([]byte, size)
	for reads := 1; ; reads++ {
		if _, err := reader.ReadAt(got, size); err != nil {
			t.Fatal(err)
		}
		if got[0] != got[size-1] {
			torn++
		}
		select {
		case err := <-written:
			if err != nil || torn > 0 {
				t.Errorf("of %d reads, %d gave half of two blocks (%v)", reads, torn, err)
			}
			return
		default:
		}
	}
}
