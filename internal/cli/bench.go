package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"sealpost/identity"
	"sealpost/internal/bench"
)

// benchCommand is sealpost bench.
type benchCommand struct {
	Scenario    string `arg:"" optional:"" enum:"saturate,steady,connect,idle,backlog,group" default:"saturate" help:"saturate (as many messages as possible), steady (at a rate), connect (a storm of connections), idle (what they cost), backlog (messages for devices that are away), group (one message to many)."`
	Server      string `placeholder:"HOST:PORT" help:"Measure this server, which must let everybody register and whose limits apply. Without it, one is started."`
	Fingerprint string `placeholder:"SHA256:..." help:"Key that the server must have (default: the one it shows)."`
	Devices     int    `help:"Pairs of a sending and a receiving device, connections, or members of a group."`
	Messages    int    `help:"Messages in all."`
	Size        int    `help:"Bytes of a payload."`
	Window      int    `help:"Messages of one sender that are not answered yet."`
	Rate        int    `help:"Messages a second in all, for steady and backlog."`
	MLS         bool   `name:"mls" help:"Payloads are MLS messages, sealed and opened meanwhile (saturate, steady)."`
	JSON        bool   `name:"json" help:"Print one JSON object."`
}

// Run measures and prints.
func (c *benchCommand) Run(env *environment) (err error) {
	config := bench.Config{Devices: c.Devices, Messages: c.Messages, Size: c.Size, Window: c.Window, Rate: c.Rate, MLS: c.MLS}
	switch {
	case c.Server != "":
		config.Target, err = c.target(env)
	case c.Scenario == "idle": // whose memory must not be mixed with that of the clients
		var stop func() error
		config.Target, stop, err = startMeasured(env)
		if err == nil {
			defer func() { err = errors.Join(err, stop()) }()
		}
	}
	if err != nil {
		return err
	}
	report, err := bench.Run(env.ctx, c.Scenario, config)
	if err != nil {
		return c.explain(env, err)
	}
	return c.print(env, report)
}

// explain says what to do about an error of the measurement.
func (c *benchCommand) explain(env *environment, err error) error {
	switch told := (&userError{status: exitFailure, code: "BENCH", err: fmt.Errorf("measuring: %w", err)}); {
	case errors.Is(err, bench.ErrConfig):
		return usageError(err)
	case env.ctx.Err() != nil:
		return env.ctx.Err()
	case errors.Is(err, bench.ErrRefused) && c.Server != "":
		told.hint = "that server has to let everybody register (--open-registration), and its limits apply: raise them with its --limit-... flags"
		return told
	default:
		return told
	}
}

func (c *benchCommand) target(env *environment) (*bench.Target, error) {
	var id identity.ServerID
	var err error
	if c.Fingerprint != "" {
		if id, err = identity.ParseServerID(c.Fingerprint); err != nil {
			return nil, usageError(fmt.Errorf("--fingerprint: %w", err))
		}
	} else if id, err = bench.Fingerprint(env.ctx, c.Server); err != nil {
		return nil, &userError{status: exitUnavailable, code: "SERVER_UNAVAILABLE", err: err, hint: "--server takes HOST:PORT of a server that runs"}
	}
	return &bench.Target{Address: c.Server, ID: id}, nil
}

func (c *benchCommand) print(env *environment, report bench.Report) error {
	if c.JSON {
		if err := json.NewEncoder(env.stdout).Encode(report); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return nil
	}
	width := 0
	for _, f := range report.Figures {
		width = max(width, len(f.Name))
	}
	for _, f := range report.Figures {
		digits := 0
		if f.Value < 100 {
			digits = 2
		}
		fmt.Fprintf(env.stdout, "%-*s  %12.*f %s\n", width, f.Name, digits, f.Value, f.Unit)
	}
	return nil
}

// unlimited is a setting that no load reaches.
const unlimited = "1000000000"

// startMeasured starts this program as a server in a process of its own.
func startMeasured(env *environment) (*bench.Target, func() error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("starting a server: %w", err)
	}
	dir, err := os.MkdirTemp("", "sealpost-bench-")
	if err != nil {
		return nil, nil, fmt.Errorf("starting a server: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(env.ctx))
	args := []string{"server", "--listen=127.0.0.1:0", "--data=" + dir}
	for _, limit := range []string{"connections", "address-connections", "address-connects", "address-registrations"} {
		args = append(args, "--limit-"+limit+"="+unlimited)
	}
	server := exec.CommandContext(ctx, self, args...)
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGTERM) }
	stop := func() error {
		cancel()
		err := server.Wait()
		if errors.Is(err, context.Canceled) {
			err = nil // as it should end
		}
		return errors.Join(err, os.RemoveAll(dir))
	}
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		cancel()
		return nil, nil, errors.Join(fmt.Errorf("starting a server: %w", err), os.RemoveAll(dir))
	}
	target, err := readGreeting(out)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("starting a server: %w", err), stop())
	}
	target.PID = server.Process.Pid
	return target, stop, nil
}

// readGreeting reads what a server prints at its start, up to its fingerprint.
func readGreeting(out io.Reader) (*bench.Target, error) {
	target := &bench.Target{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "address":
			target.Address = strings.TrimSpace(value)
		case "fingerprint":
			id, err := identity.ParseServerID(strings.TrimSpace(value))
			target.ID = id
			return target, err
		}
	}
	return nil, errors.New("it does not say its address")
}
