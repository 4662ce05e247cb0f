package sqlite

import (
	"encoding/binary"
	"iter"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/ncruces/go-sqlite3"
)

// A submissionFilter knows which runs may have a submit id: it may name some for a
// new id, once in thousands, and always names the one that has it. Almost every
// submit is new, so that this spares it a search in tables far larger than the
// caches. It takes some three bytes of memory for each remembered submit id.
type submissionFilter struct {
	layers []filterLayer // each takes what came after the one before was full
}

// A filterLayer has whole runs.
type filterLayer struct {
	*bloom.BloomFilter
	first, last int64 // the numbers of its runs
	room        int   // for so many more ids; a run that begins in it goes in whole
	saved       bool
}

const (
	minFilterLayer     = 1 << 16 // submit ids; each layer has room for as many as all before
	maxFilterLayer     = 1 << 22
	falsePositiveLayer = 0.0001
	// filterHashes is best for that, and the same for all layers, so that one
	// hash serves them all.
	filterHashes = 14
)

func (f *submissionFilter) add(run submissionRun) {
	n := len(f.layers)
	if n == 0 || f.layers[n-1].room <= 0 {
		room := min(minFilterLayer<<min(n, 16), maxFilterLayer)
		bits, _ := bloom.EstimateParameters(uint(room), falsePositiveLayer)
		words := make([]uint64, (bits+63)/64) // all of which count
		f.layers = append(f.layers, filterLayer{BloomFilter: bloom.From(words, filterHashes), first: run.number, room: room})
		n++
	}
	layer := &f.layers[n-1]
	for i := range run.keys {
		layer.Add(run.keys[i][:])
	}
	layer.last = run.number
	layer.room -= len(run.keys)
}

// runs yields the numbers of the runs that may have an id.
func (f *submissionFilter) runs(key submissionKey) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		if len(f.layers) == 0 {
			return
		}
		bits := bloom.Locations(key[:], filterHashes)
		for _, layer := range f.layers {
			if !layer.TestLocations(bits) {
				continue
			}
			for run := layer.first; run <= layer.last; run++ {
				if !yield(run) {
					return
				}
			}
		}
	}
}

// expire drops the layers whose runs are all before one.
func (f *submissionFilter) expire(first int64) {
	gone := 0
	for gone < len(f.layers) && f.layers[gone].last < first {
		gone++
	}
	clear(f.layers[:gone])
	f.layers = f.layers[gone:]
}

// saveFilter writes the layers that are full, so that a start need not make them of
// millions of ids.
func (s *Store) saveFilter() error {
	for _, layer := range s.filter.layers {
		if layer.saved || layer.room > 0 {
			continue
		}
		bits, err := binary.Append(nil, binary.LittleEndian, layer.BitSet().Words())
		if err != nil {
			return err
		}
		if err := s.writer.addFilter.int(1, layer.first).int(2, layer.last).blob(3, bits).exec(); err != nil {
			return err
		}
	}
	return nil
}

// savedFilter notes that what saveFilter wrote is on disk.
func (f *submissionFilter) savedFilter() {
	for i := range f.layers {
		f.layers[i].saved = f.layers[i].room <= 0
	}
}

// loadFilter reads the layers that were saved, and returns the number of the last
// run in them.
func (s *Store) loadFilter() (last int64, err error) {
	err = s.writer.filters.each(func(row *sqlite3.Stmt) bool {
		bits := row.ColumnRawBlob(2)
		words := make([]uint64, len(bits)/8)
		for i := range words {
			words[i] = binary.LittleEndian.Uint64(bits[8*i:])
		}
		last = row.ColumnInt64(1)
		s.filter.layers = append(s.filter.layers, filterLayer{
			BloomFilter: bloom.From(words, filterHashes), first: row.ColumnInt64(0), last: last, saved: true,
		})
		return true
	})
	return last, err
}
