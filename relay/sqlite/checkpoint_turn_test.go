package sqlite_test

import (
	"sync"
	"testing"
	"time"

	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// TestCheckpointsTakeTurns: the log is copied back because it is long, and because
// something expired. Both at once, on one connection, once left a file that was no
// database; the race detector sees it at once.
func TestCheckpointsTakeTurns(t *testing.T) {
	s, err := sqlite.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	register(t, s, "alice")
	stop := checkpointWithoutPause(s)
	for range 50 {
		if _, err := s.Expire(t.Context(), relay.Due{Before: time.Unix(1, 0), At: time.Unix(1, 0)}); err != nil {
			t.Error(err)
		}
	}
	stop()
}

// checkpointWithoutPause copies the log back until stop, which waits for the last time.
func checkpointWithoutPause(s *sqlite.Store) (stop func()) {
	quit := make(chan struct{})
	var checkpointing sync.WaitGroup
	checkpointing.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				s.Checkpoint()
			}
		}
	})
	return func() {
		close(quit)
		checkpointing.Wait()
	}
}
