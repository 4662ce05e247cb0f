package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"sealpost/api"
)

// Config says what load to make.
type Config struct {
	Pairs    int // of a sending and a receiving device
	Messages int // in all
	Size     int // of a payload in bytes, at least MinSize
	Window   int // submits of one sender that are not answered yet
	// Rate is how many messages are submitted each second in all, at even
	// intervals; 0 means as many as possible. With a rate, latency counts from the
	// moment when a message was due, so that a stall is not left out.
	Rate int
	// Dir is where the relay keeps its data; "" means a temporary directory.
	Dir string
}

// MinSize is the smallest payload, which holds the time of its submit.
const MinSize = 8

// Result is what was measured.
type Result struct {
	Messages           int
	Elapsed            time.Duration // from the first submit to the last envelope
	AcceptedPerSecond  float64
	DeliveredPerSecond float64
	// From submit to envelope.
	P50, P99, Max time.Duration
	// Processor time of relay and clients together.
	CPUPerMessage time.Duration
}

func (c Config) check() error {
	if c.Pairs < 1 || c.Messages < c.Pairs || c.Window < 1 || c.Rate < 0 {
		return errors.New("a load has at least one pair, one message for each pair and a window of one")
	}
	if c.Size < MinSize || c.Size > api.DefaultMaxMessage {
		return fmt.Errorf("a payload has %d to %d bytes", MinSize, api.DefaultMaxMessage)
	}
	return nil
}

// Run makes the load and measures it.
func Run(ctx context.Context, c Config) (result Result, err error) {
	if err := c.check(); err != nil {
		return Result{}, err
	}
	r, err := startRelay(c.Dir)
	if err != nil {
		return Result{}, fmt.Errorf("starting a relay: %w", err)
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	connected, err := r.connectPairs(ctx, c.Pairs)
	if err != nil {
		return Result{}, fmt.Errorf("connecting: %w", err)
	}
	pairs := make([]Pair, len(connected))
	for i, p := range connected {
		defer p.close()
		pairs[i] = p.Pair
	}
	return Measure(ctx, c, pairs)
}

// Measure makes the load on lines that are connected: each of c.Pairs pairs.
func Measure(ctx context.Context, c Config, pairs []Pair) (Result, error) {
	cpu := ProcessorTime()
	run := run{Config: c, start: time.Now(), latency: newHistogram()}
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range pairs {
		share := (c.Messages + i) / c.Pairs
		group.Go(func() error { return run.send(ctx, p, i, share) })
		group.Go(func() error { return run.receive(p, share) })
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	used := ProcessorTime()
	elapsed := time.Since(run.start)
	return Result{
		Messages:           c.Messages,
		Elapsed:            elapsed,
		AcceptedPerSecond:  perSecond(c.Messages, time.Duration(run.lastAccepted.Load())),
		DeliveredPerSecond: perSecond(c.Messages, elapsed),
		P50:                time.Duration(run.latency.ValueAtPercentile(50)),
		P99:                time.Duration(run.latency.ValueAtPercentile(99)),
		Max:                time.Duration(run.latency.Max()),
		CPUPerMessage:      (used - cpu) / time.Duration(c.Messages),
	}, nil
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

// newHistogram holds a microsecond to an hour, with three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(time.Hour), 3)
}

// A run is one measurement.
type run struct {
	Config
	start        time.Time
	lastAccepted atomic.Int64 // nanoseconds after start

	mu      sync.Mutex
	latency *hdrhistogram.Histogram
}

// due returns when a sender's message is to be submitted, after start; senders
// take turns.
func (r *run) due(sender, message int) time.Duration {
	if r.Rate == 0 {
		return 0
	}
	return time.Duration(float64(message*r.Pairs+sender) * float64(time.Second) / float64(r.Rate))
}

func (r *run) send(ctx context.Context, p Pair, sender, count int) error {
	next := func(message int) (*api.Submit, error) {
		at := r.due(sender, message)
		if err := sleepUntil(ctx, r.start.Add(at)); err != nil {
			return nil, err
		}
		if r.Rate == 0 {
			at = time.Since(r.start)
		}
		return p.submit(r.Size, at), nil
	}
	if err := pipeline(p.Sender, count, r.Window, next); err != nil {
		return fmt.Errorf("submitting: %w", err)
	}
	now := int64(time.Since(r.start))
	for last := r.lastAccepted.Load(); now > last; last = r.lastAccepted.Load() {
		if r.lastAccepted.CompareAndSwap(last, now) {
			break
		}
	}
	return nil
}

func sleepUntil(ctx context.Context, at time.Time) error {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ackEvery is how many envelopes a receiver takes before it acknowledges them.
const ackEvery = 64

func (r *run) receive(p Pair, count int) error {
	latency := newHistogram()
	for n := 1; n <= count; n++ {
		frame, err := nextFrame(p.Receiver)
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		envelope := frame.GetEnvelope()
		if len(envelope.GetPayload()) != r.Size {
			return fmt.Errorf("receiving: not an envelope of %d bytes", r.Size)
		}
		took := time.Since(r.start) - submittedAt(envelope.GetPayload())
		if err := latency.RecordValue(int64(took)); err != nil {
			return fmt.Errorf("recording a latency: %w", err)
		}
		if n%ackEvery == 0 || n == count {
			if err := p.ack(envelope.GetSequence()); err != nil {
				return fmt.Errorf("acknowledging: %w", err)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latency.Merge(latency)
	return nil
}
