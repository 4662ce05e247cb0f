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

// Config says what to measure. What a scenario has no use for is ignored.
type Config struct {
	// Devices are pairs of a sending and a receiving device, connections, or the
	// members of a group, as the scenario has it.
	Devices  int
	Messages int // in all
	Size     int // of a payload in bytes, at least MinSize
	Window   int // submits of one sender that are not answered yet
	// Rate is how many messages are submitted each second in all, at even
	// intervals; 0 means as many as possible. With a rate, latency counts from the
	// moment when a message was due, so that a stall is not left out.
	Rate int
	// MLS makes payloads MLS messages (RFC 9420), of Size bytes of text, which are
	// sealed and opened meanwhile: the load of the clients is then part of it.
	MLS bool
	// Target is the relay; nil means one in this process, with its data in Dir.
	Target *Target
	Dir    string // "" means a temporary directory
}

// MinSize is the smallest payload, which holds the time of its submit.
const MinSize = 8

// Result is what was measured of a load.
type Result struct {
	Messages           int
	Elapsed            time.Duration // from the first submit to the last envelope
	AcceptedPerSecond  float64
	DeliveredPerSecond float64
	Latency            *hdrhistogram.Histogram // nanoseconds from submit to envelope
	// Processor time of this process.
	CPUPerMessage time.Duration
}

// ErrConfig reports a Config that cannot be measured.
var ErrConfig = errors.New("this cannot be measured")

func (c Config) check() error {
	for _, least := range []struct {
		name         string
		value, least int
	}{{"devices", c.Devices, 1}, {"messages", c.Messages, 1}, {"window", c.Window, 1}, {"rate", c.Rate, 0}} {
		if least.value < least.least {
			return fmt.Errorf("%w: %s is at least %d, not %d", ErrConfig, least.name, least.least, least.value)
		}
	}
	if c.Size < MinSize || c.Size > api.DefaultMaxMessage {
		return fmt.Errorf("%w: size is %d to %d bytes, not %d", ErrConfig, MinSize, api.DefaultMaxMessage, c.Size)
	}
	return nil
}

// checkPairs refuses a load in which a pair would have nothing to send.
func (c Config) checkPairs() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Messages < c.Devices {
		return fmt.Errorf("%w: %d messages are fewer than the %d devices that send them", ErrConfig, c.Messages, c.Devices)
	}
	return nil
}

// Load makes a load and measures it.
func Load(ctx context.Context, c Config) (result Result, err error) {
	if err := c.checkPairs(); err != nil {
		return Result{}, err
	}
	err = c.onTarget(func(t Target) error {
		result, err = load(ctx, c, t)
		return err
	})
	return result, err
}

// onTarget calls f with the relay, and starts one if none is given.
func (c Config) onTarget(f func(Target) error) (err error) {
	if c.Target != nil {
		return f(*c.Target)
	}
	r, err := startRelay(c.Dir)
	if err != nil {
		return fmt.Errorf("starting a relay: %w", err)
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	return f(r.Target)
}

func load(ctx context.Context, c Config, t Target) (Result, error) {
	pairs, end, err := t.pairs(ctx, c.Devices)
	if err != nil {
		return Result{}, err
	}
	defer end()
	for i := range pairs {
		if !c.MLS {
			break
		}
		if pairs[i].sealing, err = newSealing(); err != nil {
			return Result{}, fmt.Errorf("making an MLS group: %w", err)
		}
	}
	return Measure(ctx, c, pairs)
}

// Measure makes the load on lines that are connected: c.Devices pairs.
func Measure(ctx context.Context, c Config, pairs []Pair) (Result, error) {
	cpu := processorTime()
	run := run{Config: c, start: time.Now(), latency: newHistogram()}
	group, ctx := errgroup.WithContext(ctx)
	// When one is refused, the others wait for what does not come.
	defer context.AfterFunc(ctx, func() {
		for _, p := range pairs {
			if p.end != nil {
				p.end()
			}
		}
	})()
	for i, p := range pairs {
		share := (c.Messages + i) / c.Devices
		group.Go(func() error { return run.send(ctx, p, i, share) })
		group.Go(func() error { return run.receive(p, share) })
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	used := processorTime()
	elapsed := time.Since(run.start)
	return Result{
		Messages:           c.Messages,
		Elapsed:            elapsed,
		AcceptedPerSecond:  perSecond(c.Messages, time.Duration(run.lastAccepted.Load())),
		DeliveredPerSecond: perSecond(c.Messages, elapsed),
		Latency:            run.latency,
		CPUPerMessage:      (used - cpu) / time.Duration(c.Messages),
	}, nil
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

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
	return time.Duration(float64(message*r.Devices+sender) * float64(time.Second) / float64(r.Rate))
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
		return p.submit(r.Size, at)
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
		text, err := p.sealing.open(envelope.GetPayload())
		if err != nil {
			return err
		}
		if len(text) != r.Size {
			return fmt.Errorf("receiving: not %d bytes", r.Size)
		}
		took := time.Since(r.start) - submittedAt(text)
		record(latency, took)
		if n%ackEvery == 0 || n == count {
			if err := ack(p.Receiver, envelope.GetSequence()); err != nil {
				return fmt.Errorf("acknowledging: %w", err)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latency.Merge(latency)
	return nil
}
