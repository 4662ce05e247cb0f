package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/ncruces/go-sqlite3"
)

// A submissionFilter knows which runs may have a submit id: it may name some for a
// new id, once in thousands, and always names the one that has it. Almost every
// submit is new, so that this spares it a search in tables far larger than the
// caches; and who repeats an old one on purpose causes no search in every run. It
// takes some three bytes of memory for each remembered submit id.
type submissionFilter struct {
	layers []filterLayer // each takes what came after the one before was full
}

// A filterLayer has whole runs: a filter of all their ids, and one of each.
type filterLayer struct {
	all         *bloom.BloomFilter
	runs        []runFilter
	first, last int64 // the numbers of its runs are from here to there
	room        int   // for so many more ids; a run that begins in it goes in whole
	saved       bool  // the filter of all
}

type runFilter struct {
	number int64
	filter *bloom.BloomFilter
}

const (
	minFilterLayer = 1 << 16 // submit ids; each layer has room for as many as all before
	maxFilterLayer = 1 << 22

	// How often a filter has an id that it was not given: one of a layer is asked by
	// every submit, one of a run only when that of its layer said yes. The numbers of
	// hashes are what is best for that.
	falsePositiveLayer, layerHashes = 0.001, 10
	falsePositiveRun, runHashes     = 0.02, 6
)

// hashedForRun is the key without the sender, so that an id that is taken for
// another in a layer is not for that reason taken for it in a run.
func (k *submissionKey) hashedForRun() []byte { return k[8:] }

func newLayerFilter(n int) *bloom.BloomFilter {
	return newFilter(n, falsePositiveLayer, layerHashes)
}

func newRunFilter(n int) *bloom.BloomFilter { return newFilter(n, falsePositiveRun, runHashes) }

func newFilter(n int, falsePositive float64, hashes uint) *bloom.BloomFilter {
	bits, _ := bloom.EstimateParameters(uint(n), falsePositive)
	return bloom.From(make([]uint64, (bits+63)/64), hashes)
}

// add takes a run, which has a filter.
func (f *submissionFilter) add(run submissionRun) {
	n := len(f.layers)
	if n == 0 || f.layers[n-1].room <= 0 {
		room := min(minFilterLayer<<min(n, 16), maxFilterLayer)
		f.layers = append(f.layers, filterLayer{all: newLayerFilter(room), first: run.number, room: room})
		n++
	}
	layer := &f.layers[n-1]
	for i := range run.keys {
		layer.all.Add(run.keys[i][:])
	}
	layer.runs = append(layer.runs, runFilter{run.number, run.filter})
	layer.last = run.number
	layer.room -= len(run.keys)
}

// addSaved takes a run of a layer that was saved, if there is one.
func (f *submissionFilter) addSaved(run submissionRun) bool {
	for i := range f.layers {
		if layer := &f.layers[i]; layer.saved && layer.first <= run.number && run.number <= layer.last {
			layer.runs = append(layer.runs, runFilter{run.number, run.filter})
			return true
		}
	}
	return false
}

// mayHave yields the numbers of the runs that may have an id, the latest first.
func (f *submissionFilter) mayHave(key submissionKey) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for _, layer := range slices.Backward(f.layers) {
			if !layer.all.Test(key[:]) {
				continue
			}
			for _, run := range slices.Backward(layer.runs) {
				if run.filter.Test(key.hashedForRun()) && !yield(run.number) {
					return
				}
			}
		}
	}
}

// expire drops runs, and the layers that have no others.
func (f *submissionFilter) expire(gone map[int64]bool) {
	if len(gone) == 0 {
		return
	}
	for i := range f.layers {
		layer := &f.layers[i]
		layer.runs = slices.DeleteFunc(layer.runs, func(run runFilter) bool { return gone[run.number] })
	}
	f.layers = slices.DeleteFunc(f.layers, func(layer filterLayer) bool { return len(layer.runs) == 0 })
}

// saveLayers writes the layers that are full, so that a start need not make them of
// millions of ids.
func (s *Store) saveLayers() error {
	for _, layer := range s.filter.layers {
		if layer.saved || layer.room > 0 {
			continue
		}
		err := s.writer.addLayer.int(1, layer.first).int(2, layer.last).blob(3, filterBytes(layer.all)).exec()
		if err != nil {
			return err
		}
	}
	return nil
}

// savedLayers notes that what saveLayers wrote is on disk.
func (f *submissionFilter) savedLayers() {
	for i := range f.layers {
		f.layers[i].saved = f.layers[i].room <= 0
	}
}

// loadLayers reads the layers that were saved, and returns the number of the last
// run in them.
func (s *Store) loadLayers() (last int64, err error) {
	var damaged error
	err = s.writer.layers.each(func(row *sqlite3.Stmt) bool {
		layer := filterLayer{first: row.ColumnInt64(0), last: row.ColumnInt64(1), saved: true}
		layer.all, damaged = filterFrom(row.ColumnRawBlob(2), layerHashes)
		s.filter.layers, last = append(s.filter.layers, layer), layer.last
		return damaged == nil
	})
	return last, errors.Join(err, damaged)
}

func filterBytes(f *bloom.BloomFilter) []byte {
	words := f.BitSet().Words()
	bits := make([]byte, 0, 8*len(words))
	for _, word := range words {
		bits = binary.LittleEndian.AppendUint64(bits, word)
	}
	return bits
}

func filterFrom(bits []byte, hashes uint) (*bloom.BloomFilter, error) {
	if len(bits) == 0 || len(bits)%8 != 0 {
		return nil, fmt.Errorf("%w: a filter of %d bytes", ErrCorrupt, len(bits))
	}
	words := make([]uint64, len(bits)/8)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(bits[8*i:])
	}
	return bloom.From(words, hashes), nil
}
