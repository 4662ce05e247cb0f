package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"sealpost/api"
)

// A scenario measures a relay in one way.
type scenario struct {
	defaults Config
	run      func(context.Context, Config, Target) (Report, error)
}

var scenarios = map[string]scenario{
	"saturate": {Config{Devices: 16, Messages: 100_000, Size: 300, Window: 256}, loadReport},
	"steady":   {Config{Devices: 16, Messages: 20_000, Size: 300, Window: 256, Rate: 1000}, loadReport},
	"connect":  {Config{Devices: 5000, Messages: 5000, Size: MinSize, Window: 1}, connectReport},
	"idle":     {Config{Devices: 5000, Messages: 5000, Size: MinSize, Window: 1}, idleReport},
	"backlog":  {Config{Devices: 16, Messages: 1_000_000, Size: 300, Window: 256, Rate: 1000}, backlogReport},
	"group":    {Config{Devices: 1000, Messages: 50, Size: 1024, Window: 1}, groupReport},
}

// Run measures a scenario: saturate, steady, connect, idle, backlog or group.
// What c leaves at 0 takes the scenario's default.
func Run(ctx context.Context, name string, c Config) (report Report, err error) {
	s, ok := scenarios[name]
	if !ok {
		return Report{}, fmt.Errorf("there is no scenario %q", name)
	}
	for _, field := range []struct{ set, otherwise *int }{
		{&c.Devices, &s.defaults.Devices}, {&c.Messages, &s.defaults.Messages}, {&c.Size, &s.defaults.Size},
		{&c.Window, &s.defaults.Window}, {&c.Rate, &s.defaults.Rate},
	} {
		if *field.set == 0 {
			*field.set = *field.otherwise
		}
	}
	if c.MLS && name != "saturate" && name != "steady" {
		return Report{}, fmt.Errorf("%w: the scenario %s has no MLS payloads", ErrConfig, name)
	}
	check := c.checkPairs
	if name == "group" || name == "connect" || name == "idle" {
		check = c.check
	}
	if err := check(); err != nil {
		return Report{}, err
	}
	err = c.onTarget(func(t Target) error {
		report, err = s.run(ctx, c, t)
		return err
	})
	report.Scenario = name
	return report, err
}

func loadReport(ctx context.Context, c Config, t Target) (r Report, err error) {
	result, err := load(ctx, c, t)
	if err != nil {
		return Report{}, err
	}
	r.add("accepted", result.AcceptedPerSecond, "/s")
	r.add("delivered", result.DeliveredPerSecond, "/s")
	r.addLatency("latency", result.Latency)
	r.add("processor of a message", float64(result.CPUPerMessage.Nanoseconds())/1000, "µs")
	return r, nil
}

// connectReport connects many devices as fast as it goes.
func connectReport(ctx context.Context, c Config, t Target) (r Report, err error) {
	devices, err := storm(ctx, c, t, &r)
	closeAll(devices)
	return r, err
}

func storm(ctx context.Context, c Config, t Target, r *Report) ([]*device, error) {
	devices, err := t.register(ctx, c.Devices)
	if err != nil {
		return nil, err
	}
	latency := newHistogram()
	begin := time.Now()
	err = connectAll(ctx, devices, func(d time.Duration) { record(latency, d) })
	if err != nil {
		return devices, err
	}
	elapsed := time.Since(begin)
	r.add("connections", float64(c.Devices), "")
	r.addTime("all connected after", elapsed)
	r.add("connected", perSecond(c.Devices, elapsed), "/s")
	r.addLatency("connecting", latency)
	return devices, nil
}

// idleReport is what connections cost that do nothing.
func idleReport(ctx context.Context, c Config, t Target) (r Report, err error) {
	if t.PID == 0 {
		return r, fmt.Errorf("%w: the memory of idle connections is measured on a relay in a process of its own, without --server", ErrConfig)
	}
	warm, err := t.register(ctx, 1)
	if err == nil {
		err = warm[0].connect(ctx)
	}
	defer closeAll(warm)
	if err != nil {
		return r, err
	}
	before, err := residentMemory(t.PID)
	if err != nil {
		return r, err
	}
	devices, err := storm(ctx, c, t, &r)
	defer closeAll(devices)
	if err != nil {
		return r, err
	}
	after, err := settledMemory(ctx, c, t.PID)
	r.add("resident before", float64(before)/(1<<20), "MiB")
	r.add("resident", float64(after)/(1<<20), "MiB")
	r.add("resident for a connection", float64(after-before)/float64(c.Devices)/(1<<10), "KiB")
	return r, err
}

// settleTime is how long, for each connection, memory has time to go back to the
// system after a storm. For thousands that is long enough for the Go runtime to
// collect garbage in a process that does nothing, every two minutes.
const settleTime = 30 * time.Millisecond

func settledMemory(ctx context.Context, c Config, pid int) (int64, error) {
	if err := sleepUntil(ctx, time.Now().Add(time.Duration(c.Devices)*settleTime)); err != nil {
		return 0, err
	}
	return residentMemory(pid)
}

// residentMemory asks Linux for a process's resident memory in bytes.
func residentMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of the relay: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("the system does not tell the memory of the relay")
}

// probes is how many messages measure latency before and with a backlog.
const probes = 10_000

// backlogReport fills mailboxes of devices that are away, compares latency with
// what it was before, and lets the devices fetch everything.
func backlogReport(ctx context.Context, c Config, t Target) (r Report, err error) {
	probe := c
	probe.Messages = max(min(probes, c.Messages), c.Devices)
	empty, err := load(ctx, probe, t)
	if err != nil {
		return r, err
	}
	away, senders, err := t.awayPairs(ctx, c.Devices)
	defer closeAll(senders)
	if err != nil {
		return r, err
	}
	begin := time.Now()
	if err := fill(c, senders, away); err != nil {
		return r, err
	}
	r.add("stored", perSecond(c.Messages, time.Since(begin)), "/s")
	full, err := load(ctx, probe, t)
	if err != nil {
		return r, err
	}
	r.addLatency("latency, store empty", empty.Latency)
	r.addLatency("latency, store full", full.Latency)
	begin = time.Now()
	defer closeAll(away)
	if err := drain(ctx, c, away); err != nil {
		return r, err
	}
	r.add("fetched", perSecond(c.Messages, time.Since(begin)), "/s")
	return r, nil
}

func (t Target) awayPairs(ctx context.Context, n int) (away, senders []*device, err error) {
	if away, err = t.register(ctx, n); err != nil {
		return nil, nil, err
	}
	if senders, err = t.register(ctx, n); err != nil {
		return nil, nil, err
	}
	return away, senders, connectAll(ctx, senders, nil)
}

// share is how many of the messages are one device's.
func (c Config) share(i int) int { return (c.Messages + i) / c.Devices }

func fill(c Config, senders, away []*device) error {
	var group errgroup.Group
	for i, sender := range senders {
		pair := Pair{Sender: sender.stream, Recipient: away[i].id}
		group.Go(func() error {
			return pipeline(pair.Sender, c.share(i), c.Window, func(int) (*api.Submit, error) { return pair.submit(c.Size, 0) })
		})
	}
	return group.Wait()
}

func drain(ctx context.Context, c Config, away []*device) error {
	var group errgroup.Group
	for i, d := range away {
		group.Go(func() error {
			if err := d.connect(ctx); err != nil {
				return err
			}
			for n := 1; n <= c.share(i); n++ {
				frame, err := nextFrame(d.stream)
				if err != nil {
					return fmt.Errorf("fetching: %w", err)
				}
				if n%ackEvery == 0 || n == c.share(i) {
					if err := ack(d.stream, frame.GetEnvelope().GetSequence()); err != nil {
						return fmt.Errorf("acknowledging: %w", err)
					}
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// groupReport sends messages to a group, one by one.
func groupReport(ctx context.Context, c Config, t Target) (r Report, err error) {
	members, err := t.register(ctx, c.Devices)
	defer closeAll(members)
	if err == nil {
		err = connectAll(ctx, members, nil)
	}
	if err != nil {
		return r, err
	}
	slices.SortFunc(members, func(a, b *device) int { return bytes.Compare(a.id[:], b.id[:]) })
	var list [][]byte
	for _, m := range members {
		list = append(list, m.id[:])
	}
	id := newSubmitID()
	create := &api.Submit{
		Id: newSubmitID(), Kind: api.Kind_KIND_HANDSHAKE, Payload: make([]byte, c.Size),
		Group: &api.GroupEpoch{Id: id}, Commit: &api.Commit{Members: list},
	}
	// It goes to those who were members before: nobody but the sender.
	if err := pipeline(members[0].stream, 1, 1, func(int) (*api.Submit, error) { return create, nil }); err != nil {
		return r, fmt.Errorf("making a group: %w", err)
	}
	accepted, received := newHistogram(), newHistogram()
	for range c.Messages {
		durable, all, err := fanOut(members, &api.Submit{
			Id: newSubmitID(), Kind: api.Kind_KIND_APPLICATION, Payload: make([]byte, c.Size),
			Group: &api.GroupEpoch{Id: id, Epoch: 1},
		})
		if err != nil {
			return r, err
		}
		record(accepted, durable)
		record(received, all)
	}
	r.add("members", float64(c.Devices), "")
	r.addLatency("durable", accepted)
	r.addLatency("with all members", received)
	return r, nil
}

// fanOut submits as the first member, and returns how long it took until it was
// accepted, and until every other member had it.
func fanOut(members []*device, submit *api.Submit) (accepted, received time.Duration, err error) {
	begin := time.Now()
	var group errgroup.Group
	for _, m := range members[1:] {
		group.Go(func() error {
			frame, err := nextFrame(m.stream)
			if err != nil {
				return fmt.Errorf("receiving: %w", err)
			}
			return ack(m.stream, frame.GetEnvelope().GetSequence())
		})
	}
	if err := pipeline(members[0].stream, 1, 1, func(int) (*api.Submit, error) { return submit, nil }); err != nil {
		return 0, 0, err // the lines end with the scenario
	}
	accepted = time.Since(begin)
	err = group.Wait()
	return accepted, time.Since(begin), err
}
