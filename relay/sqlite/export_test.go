package sqlite

// OpenOn is Open on another file system of SQLite's.
func OpenOn(dir, vfs string) (*Store, error) { return openOn(dir, vfs) }

// Checkpoint runs one round of the checkpointer.
func (s *Store) Checkpoint() { s.checkpointer.checkpoint() }

// SetPackAt makes so many recent submit ids become a run.
func (s *Store) SetPackAt(n int) { s.packAt = n }

// SetFreeBytes makes the store believe that the disk has so much room.
func (s *Store) SetFreeBytes(n int64) {
	s.freeBytes = func() (int64, error) { return n, nil }
}
