package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"sealpost/internal/bench"
)

// benchCommand is sealpost bench.
type benchCommand struct {
	Pairs    int  `default:"16" help:"Pairs of a sending and a receiving device."`
	Messages int  `default:"100000" help:"Messages in all."`
	Size     int  `default:"300" help:"Bytes in a payload."`
	Window   int  `default:"256" help:"Submits of one sender that are not answered yet."`
	Rate     int  `default:"0" help:"Messages a second in all; 0 means as many as possible."`
	JSON     bool `name:"json" help:"Print one JSON object."`
}

// Run measures and prints.
func (c *benchCommand) Run(env *environment) error {
	result, err := bench.Run(env.ctx, bench.Config{
		Pairs: c.Pairs, Messages: c.Messages, Size: c.Size, Window: c.Window, Rate: c.Rate,
	})
	if err != nil {
		return fmt.Errorf("measuring: %w", err)
	}
	if c.JSON {
		return c.printJSON(env, result)
	}
	fmt.Fprintf(env.stdout, "%d messages of %d bytes, %d pairs, a window of %d, in %v\n",
		result.Messages, c.Size, c.Pairs, c.Window, result.Elapsed.Round(time.Millisecond))
	fmt.Fprintf(env.stdout, "accepted   %10.0f /s\ndelivered  %10.0f /s\n", result.AcceptedPerSecond, result.DeliveredPerSecond)
	fmt.Fprintf(env.stdout, "latency    %10v p50  %v p99  %v max  (submit to envelope)\n", result.P50, result.P99, result.Max)
	fmt.Fprintf(env.stdout, "processor  %10v a message  (relay and clients together)\n", result.CPUPerMessage)
	return nil
}

func (c *benchCommand) printJSON(env *environment, r bench.Result) error {
	err := json.NewEncoder(env.stdout).Encode(map[string]any{
		"pairs": c.Pairs, "messages": r.Messages, "size_bytes": c.Size, "window": c.Window, "rate": c.Rate,
		"elapsed_seconds":      r.Elapsed.Seconds(),
		"accepted_per_second":  r.AcceptedPerSecond,
		"delivered_per_second": r.DeliveredPerSecond,
		"latency_p50_us":       r.P50.Microseconds(),
		"latency_p99_us":       r.P99.Microseconds(),
		"latency_max_us":       r.Max.Microseconds(),
		"cpu_per_message_ns":   r.CPUPerMessage.Nanoseconds(),
	})
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
