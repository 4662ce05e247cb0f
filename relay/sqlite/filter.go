package sqlite

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/bits-and-blooms/bloom/v3"

	"sealpost/api"
)

// A submissionFilter knows which submissions may have been accepted before: it
// may say yes to a new one, once in some hundreds, and never says no to one that
// was. Almost every submit is new, so that this spares it a search in a table
// far larger than the caches. It takes some two bytes of memory for each
// remembered submit id.
type submissionFilter struct {
	layers []filterLayer // each takes what came after the one before was full
	key    [8 + api.SubmitIDSize]byte
}

type filterLayer struct {
	*bloom.BloomFilter
	room   int       // how many more it takes
	newest time.Time // of what is in it
}

const (
	minFilterLayer     = 1 << 16 // submissions; each layer has room for as many as all before
	maxFilterLayer     = 1 << 22
	falsePositiveLayer = 0.001
	// filterHashes is best for that, and the same for all layers, so that one
	// hash serves them all.
	filterHashes = 10
)

func newFilterLayer(room int, at time.Time) filterLayer {
	bits, _ := bloom.EstimateParameters(uint(room), falsePositiveLayer)
	return filterLayer{bloom.New(bits, filterHashes), room, at}
}

func (f *submissionFilter) bytes(key submissionKey) []byte {
	binary.BigEndian.PutUint64(f.key[:], uint64(key.sender))
	copy(f.key[8:], key.id[:])
	return f.key[:]
}

func (f *submissionFilter) add(key submissionKey, at time.Time) {
	n := len(f.layers)
	if n == 0 || f.layers[n-1].room == 0 {
		room := min(minFilterLayer<<min(n, 16), maxFilterLayer)
		f.layers = append(f.layers, newFilterLayer(room, at))
		n++
	}
	last := &f.layers[n-1]
	last.Add(f.bytes(key))
	last.room--
	if at.After(last.newest) {
		last.newest = at
	}
}

func (f *submissionFilter) mayHave(key submissionKey) bool {
	bits := bloom.Locations(f.bytes(key), filterHashes)
	return slices.ContainsFunc(f.layers, func(layer filterLayer) bool { return layer.TestLocations(bits) })
}

// expire drops layers that have nothing from a time on.
func (f *submissionFilter) expire(before time.Time) {
	kept := f.layers[:0]
	for _, layer := range f.layers {
		if !layer.newest.Before(before) {
			kept = append(kept, layer)
		}
	}
	clear(f.layers[len(kept):])
	f.layers = kept
}
