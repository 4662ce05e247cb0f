package sqlite

// OpenOn is Open on another file system of SQLite's.
func OpenOn(dir, vfs string) (*Store, error) { return openOn(dir, vfs) }

// Checkpoint runs one round of the checkpointer.
func (s *Store) Checkpoint() { s.checkpointer.checkpoint() }

// SetMergeAt makes so many recent submit ids move to the sorted table.
func (s *Store) SetMergeAt(n int) { s.mergeAt = n }

// SetFreeBytes makes the store believe that the disk has so much room.
func (s *Store) SetFreeBytes(n int64) {
	s.freeBytes = func() (int64, error) { return n, nil }
}
