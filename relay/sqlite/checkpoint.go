package sqlite

import (
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// checkpointPages is how many pages of log make a checkpoint worth while: 16 MiB.
// Pages written again and again meanwhile are then copied once.
const checkpointPages = 4000

// A checkpointer copies the write-ahead log back into the database, on a
// goroutine and a connection of its own, so that no commit waits for most of it.
type checkpointer struct {
	turn   sync.Mutex // held while conn is used, and taken before writer
	conn   *sqlite3.Conn
	writer *sync.Mutex // held while somebody writes
	told   *metrics

	wake    chan struct{}
	quit    chan struct{}
	stopped chan struct{}
}

func (c *checkpointer) init(writer *sync.Mutex, told *metrics) {
	c.writer, c.told = writer, told
	c.wake = make(chan struct{}, 1)
	c.quit = make(chan struct{})
	c.stopped = make(chan struct{})
}

// wrote is called after each commit with the size of the log.
func (c *checkpointer) wrote(_ *sqlite3.Conn, _ string, pages int) error {
	if pages >= checkpointPages {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (c *checkpointer) run() {
	defer close(c.stopped)
	for {
		select {
		case <-c.quit:
			return
		case <-c.wake:
			c.checkpoint()
		}
	}
}

// checkpoint copies what is there while the writer goes on, and then, with the
// writer held, the little that came in between: only when nothing is left does
// the log start from its beginning again. An error, such as a full disk, leaves
// the log as it is; the next commit wakes the checkpointer again.
func (c *checkpointer) checkpoint() {
	c.turn.Lock()
	defer c.turn.Unlock()
	defer timed(c.told.checkpoint)()
	if _, _, err := c.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE); err != nil {
		c.told.checkpointsFailed.Inc()
		return
	}
	c.writer.Lock()
	defer c.writer.Unlock()
	_, _, _ = c.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
}

func (c *checkpointer) stop() {
	close(c.quit)
	<-c.stopped
}

// truncate empties the log, and with it the last copies of what was deleted. It
// gives up at once where a reader is in the way, such as a backup, for the writer
// waits meanwhile; the next sweep tries again.
func (c *checkpointer) truncate() {
	c.turn.Lock()
	defer c.turn.Unlock()
	if _, _, err := c.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE); err != nil {
		return
	}
	c.writer.Lock()
	defer c.writer.Unlock()
	_, _, _ = c.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
}
