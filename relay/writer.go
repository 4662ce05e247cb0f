package relay

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"sealpost/identity"
)

const (
	// A batch ends at so many mailbox entries or bytes, so that nobody waits long
	// for it and memory has a bound.
	maxBatchEntries = 4096
	maxBatchBytes   = 8 << 20
	// Acknowledgements are not urgent and are cheap together: they are written
	// with a batch of submits, but not more often than this.
	ackInterval = 100 * time.Millisecond
	// storeRetry is when acknowledgements are tried again after the store failed.
	storeRetry = 5 * time.Second
)

// A pending submission waits to be written; its line waits for the answer.
type pending struct {
	Submission
	line *line
	cost int64
}

// A writer takes whatever is queued into one transaction of the store, and then
// tells the lines, while the next transaction is written.
type writer struct {
	server *Server
	space  *semaphore.Weighted // bytes of submissions in the queue, in the store and to be told
	limit  int64
	wake   chan struct{}
	done   chan struct{}
	told   chan writtenBatch
	sizes  groupSizes // belongs to run

	mu       sync.Mutex
	queue    []*pending
	acks     map[identity.DeviceID]uint64
	nextAcks time.Time
	closed   bool
}

func newWriter(s *Server) *writer {
	return &writer{
		server: s,
		space:  semaphore.NewWeighted(int64(s.limits.QueueBytes)),
		limit:  int64(s.limits.QueueBytes),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		told:   make(chan writtenBatch),
		sizes:  make(groupSizes),
		acks:   make(map[identity.DeviceID]uint64),
	}
}

// submit queues a submission, and waits while the queue is full.
func (w *writer) submit(ctx context.Context, p *pending) error {
	p.cost = min(p.cost, w.limit)
	if err := w.space.Acquire(ctx, p.cost); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.space.Release(p.cost)
		return errShutdown
	}
	w.queue = append(w.queue, p)
	w.server.metrics.queued.Inc()
	w.kick()
	return nil
}

// ack queues an acknowledgement. One for each device is kept, so that the queue
// has a bound.
func (w *writer) ack(device identity.DeviceID, sequence uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if sequence > w.acks[device] {
		w.acks[device] = sequence
		w.kick()
	}
}

// acked returns what a device acknowledged and the store may not know yet.
func (w *writer) acked(device identity.DeviceID) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acks[device]
}

func (w *writer) kick() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close makes run return once everything queued is written.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.kick()
	w.mu.Unlock()
	<-w.done
}

func (w *writer) run() {
	go func() {
		defer close(w.done)
		for batch := range w.told {
			w.tell(batch)
		}
	}()
	defer close(w.told)
	timer := time.NewTimer(ackInterval)
	defer timer.Stop()
	for {
		select {
		case <-w.wake:
		case <-timer.C:
		}
		for taken, acks := w.take(); len(taken)+len(acks) > 0; taken, acks = w.take() {
			w.write(taken, acks)
		}
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return
		}
		if len(w.acks) > 0 {
			timer.Reset(max(time.Until(w.nextAcks), 0))
		}
		w.mu.Unlock()
	}
}

// take removes a batch from the queue. The acknowledgements stay where acked
// finds them until they are written.
func (w *writer) take() (taken []*pending, acks []Acknowledgement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	entries, bytes, n := 0, 0, 0
	for n < len(w.queue) && entries < maxBatchEntries && bytes < maxBatchBytes {
		entries += w.sizes.entries(&w.queue[n].Submission)
		bytes += len(w.queue[n].Payload)
		n++
	}
	taken, w.queue = w.queue[:n:n], w.queue[n:]
	w.server.metrics.queued.Sub(float64(n))
	if now := time.Now(); len(w.acks) > 0 && (w.closed || !now.Before(w.nextAcks)) {
		w.nextAcks = now.Add(ackInterval)
		for device, sequence := range w.acks {
			acks = append(acks, Acknowledgement{device, sequence})
		}
	}
	return taken, acks
}

func (w *writer) write(taken []*pending, acks []Acknowledgement) {
	s := w.server
	batch := Batch{
		Acks:         acks,
		Submissions:  make([]*Submission, len(taken)),
		MailboxRows:  s.limits.MailboxRows,
		MailboxBytes: s.limits.MailboxBytes,
		MailboxShare: s.limits.mailboxShare(),
		At:           s.clock(),
	}
	for i, p := range taken {
		batch.Submissions[i] = &p.Submission
	}
	// A batch is written whatever happens to those who sent it.
	begin := time.Now()
	err := s.store.Write(context.Background(), &batch)
	s.metrics.writeSeconds.Observe(time.Since(begin).Seconds())
	s.metrics.batchSubmits.Observe(float64(len(taken)))
	w.written(acks, err)
	if err != nil {
		s.logInternal(err)
	} else {
		for _, p := range taken {
			w.sizes.learn(&p.Submission)
		}
	}
	w.told <- writtenBatch{taken, err}
}

// A writtenBatch is on disk, or is not for a reason.
type writtenBatch struct {
	taken []*pending
	err   error
}

// tell answers senders and hands envelopes on, in the order in which they were written.
func (w *writer) tell(batch writtenBatch) {
	for _, p := range batch.taken {
		w.space.Release(p.cost)
		if batch.err != nil {
			p.Err = batch.err
		}
		p.line.answer(p) // before a thousand recipients are served
		if batch.err == nil {
			w.server.lines.offer(&p.Submission)
			continue
		}
		w.server.lines.lookAgain(p.Recipients)
		if p.Commit != nil {
			w.server.lines.lookAgain(p.Commit.Welcomed)
		}
	}
}

// written forgets the acknowledgements that are on disk. After an error all are
// tried again, later.
func (w *writer) written(acks []Acknowledgement, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.nextAcks = time.Now().Add(storeRetry)
		if w.closed {
			clear(w.acks) // the devices acknowledge again at the next start
		}
		return
	}
	for _, ack := range acks {
		if w.acks[ack.Device] == ack.Sequence {
			delete(w.acks, ack.Device)
		}
	}
}
